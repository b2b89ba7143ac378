// SPDX-License-Identifier: MIT
#include "poll.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "worker.h"

namespace {

int EventsFrom(const Napi::Value& value) {
  const std::string what = value.As<Napi::String>().Utf8Value();
  if (what == "readable") return UV_READABLE;
  if (what == "exceptional") return UV_PRIORITIZED;
  throw Napi::TypeError::New(value.Env(), "neither 'readable' nor 'exceptional'");
}

Napi::Error ErrorFrom(Napi::Env env, int error) {
  Napi::Error thrown = Napi::Error::New(env, "system call failed");
  SystemError(error, "poll").DescribeOn(thrown.Value());
  return thrown;
}

}  // namespace

// What libuv holds on to. It gives it back, without the descriptor, some time after it was told to: its Poll may be gone.
struct Poll::Watcher {
  uv_poll_t handle;
  Poll* owner;
  int fd;
  napi_async_cleanup_hook_handle hook;
};

Napi::Function Poll::Define(Napi::Env env) {
  return DefineClass(env, "Poll", {InstanceMethod<&Poll::Wait>("wait"), InstanceMethod<&Poll::Close>("close")});
}

Poll::Poll(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Poll>(info), events_(EventsFrom(info[1])), context_(info.Env(), "blkfilter:Poll") {
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(info.Env(), &loop) != napi_ok) throw Napi::Error::New(info.Env());

  const int fd = fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) throw ErrorFrom(info.Env(), errno);
  auto* watcher = new Watcher{{}, this, fd, nullptr};
  const int status = uv_poll_init(loop, &watcher->handle, fd);
  if (status != 0) {
    close(fd);
    delete watcher;
    throw ErrorFrom(info.Env(), -status);
  }
  watcher->handle.data = watcher;
  napi_add_async_cleanup_hook(info.Env(), OnTeardown, watcher, &watcher->hook);
  watcher_ = watcher;
}

// Collected: nobody waits, for waiting keeps it.
Poll::~Poll() { Release(); }

Napi::Value Poll::Wait(const Napi::CallbackInfo& info) {
  auto deferred = Napi::Promise::Deferred::New(info.Env());
  if (watcher_ == nullptr) {
    deferred.Resolve(Napi::Boolean::New(info.Env(), false));
    return deferred.Promise();
  }
  if (waiting_.empty()) {
    const int status = uv_poll_start(&watcher_->handle, events_, OnEvent);
    if (status != 0) throw ErrorFrom(info.Env(), -status);
    Ref();
  }
  waiting_.push_back(deferred);
  return deferred.Promise();
}

Napi::Value Poll::Close(const Napi::CallbackInfo& info) {
  Release();
  Settle(0, false);
  return info.Env().Undefined();
}

void Poll::Release() {
  if (watcher_ == nullptr) return;
  Watcher* watcher = std::exchange(watcher_, nullptr);
  watcher->owner = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&watcher->handle), OnClosed);
  close(watcher->fd);
}

void Poll::Settle(int error, bool ready) {
  // Settling one may run JavaScript, which may wait again.
  const auto settled = std::exchange(waiting_, {});
  if (settled.empty()) return;
  Unref();
  for (const Napi::Promise::Deferred& deferred : settled) {
    if (error != 0) {
      deferred.Reject(ErrorFrom(Env(), error).Value());
    } else {
      deferred.Resolve(Napi::Boolean::New(Env(), ready));
    }
  }
}

void Poll::OnEvent(uv_poll_t* handle, int error, int) {
  Poll* self = static_cast<Watcher*>(handle->data)->owner;
  uv_poll_stop(handle);
  try {
    Napi::HandleScope scope(self->Env());
    Napi::CallbackScope callback(self->Env(), self->context_);
    self->Settle(-error, true);
  } catch (...) {
    // The environment is being torn down, so no JavaScript runs any more. Letting the exception out would end the process.
  }
}

void Poll::OnClosed(uv_handle_t* handle) {
  auto* watcher = static_cast<Watcher*>(handle->data);
  napi_remove_async_cleanup_hook(watcher->hook);
  delete watcher;
}

// The environment ends, and waits until the hook is removed. Nobody can see a promise settle any more.
void Poll::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* watcher = static_cast<Watcher*>(data);
  if (watcher->owner != nullptr) watcher->owner->Release();
}
