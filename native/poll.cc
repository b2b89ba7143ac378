// SPDX-License-Identifier: MIT
#include "poll.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "worker.h"

namespace {

short EventsFrom(const Napi::Value& value) {
  const std::string what = value.As<Napi::String>().Utf8Value();
  if (what == "readable") return POLLIN;
  if (what == "exceptional") return POLLPRI;
  throw Napi::TypeError::New(value.Env(), "neither 'readable' nor 'exceptional'");
}

}  // namespace

// What the thread works with. It may outlive its Poll by what is on its way to be delivered.
struct Poll::Watcher {
  ~Watcher() {
    Forget();
    if (control >= 0) close(control);
  }

  // Wakes the thread: to poll, or to end.
  void Wake() const { eventfd_write(control, 1); }

  // Sleeps until it is woken.
  bool Sleep() const {
    eventfd_t value;
    while (eventfd_read(control, &value) != 0) {
      if (errno != EINTR) return false;
    }
    return true;
  }

  // Closes what is polled. It may be all that keeps that open.
  void Forget() {
    if (fd >= 0) close(fd);
    fd = -1;
  }

  int fd = -1;
  int control = -1;
  short events = 0;
  std::atomic<bool> ended{false};
  // Null when it was stopped. For the environment's own thread.
  Poll* owner = nullptr;
};

// What the thread found: an errno, or 0 when the descriptor is ready.
struct Poll::Outcome {
  std::shared_ptr<Watcher> watcher;
  int error;
};

Napi::Function Poll::Define(Napi::Env env) {
  return DefineClass(env, "Poll", {InstanceMethod<&Poll::Wait>("wait"), InstanceMethod<&Poll::Close>("close")});
}

Poll::Poll(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Poll>(info), env_(info.Env()) {
  auto watcher = std::make_shared<Watcher>();
  watcher->events = EventsFrom(info[1]);
  watcher->fd = fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (watcher->fd < 0) throw SystemError(errno, "fcntl").ToError(info.Env());
  watcher->control = eventfd(0, EFD_CLOEXEC);
  if (watcher->control < 0) throw SystemError(errno, "eventfd").ToError(info.Env());

  channel_ = Channel::New(env_, "blkfilter:Poll", 0, 1);
  channel_.Unref(env_);
  try {
    thread_ = std::thread(Run, watcher, channel_);
  } catch (const std::system_error& failure) {
    channel_.Release();
    throw SystemError(failure.code().value(), "pthread_create").ToError(env_);
  }
  watcher->owner = this;
  watcher_ = watcher;
  // Hooks run in the opposite order, so the thread is gone before its channel.
  napi_add_env_cleanup_hook(env_, OnTeardown, this);
}

// Collected: nobody waits any more, for waiting keeps it.
Poll::~Poll() { Stop(); }

void Poll::OnTeardown(void* self) { static_cast<Poll*>(self)->Stop(); }

// The thread: sleeps until somebody waits, polls, tells, and sleeps again.
void Poll::Run(const std::shared_ptr<Watcher>& watcher, Channel channel) {
  while (watcher->Sleep() && !watcher->ended) {
    pollfd fds[] = {{watcher->fd, watcher->events, 0}, {watcher->control, POLLIN, 0}};
    int ready;
    do {
      ready = poll(fds, 2, -1);
    } while (ready < 0 && errno == EINTR);
    const int error = ready < 0 ? errno : (fds[0].revents & POLLNVAL) ? EBADF : 0;
    if (error == 0 && fds[0].revents == 0) continue;

    auto* outcome = new Outcome{watcher, error};
    if (channel.NonBlockingCall(outcome) != napi_ok) delete outcome;
  }
  channel.Release();
}

void Poll::Deliver(Napi::Env env, Napi::Function, void*, Outcome* outcome) {
  const std::unique_ptr<Outcome> owned(outcome);
  // Without an environment nobody can see a promise settle; and one that was stopped has settled all.
  if (env != nullptr && owned->watcher->owner != nullptr) owned->watcher->owner->Settle(owned->error, true);
}

Napi::Value Poll::Wait(const Napi::CallbackInfo& info) {
  auto deferred = Napi::Promise::Deferred::New(info.Env());
  if (watcher_ == nullptr) {
    deferred.Resolve(Napi::Boolean::New(info.Env(), false));
    return deferred.Promise();
  }
  if (waiting_.empty()) {
    channel_.Ref(env_);
    Ref();
    watcher_->Wake();
  }
  waiting_.push_back(deferred);
  return deferred.Promise();
}

Napi::Value Poll::Close(const Napi::CallbackInfo& info) {
  Stop();
  Settle(0, false);
  return info.Env().Undefined();
}

void Poll::Stop() {
  if (watcher_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, OnTeardown, this);
  watcher_->owner = nullptr;
  watcher_->ended = true;
  watcher_->Wake();
  thread_.join();
  // Not left to the last who holds it, for an outcome may still be on its way.
  watcher_->Forget();
  watcher_ = nullptr;
}

void Poll::Settle(int error, bool ready) {
  // Settling one may run JavaScript, which may wait again.
  const auto settled = std::exchange(waiting_, {});
  if (settled.empty()) return;
  if (watcher_ != nullptr) channel_.Unref(env_);
  Unref();
  for (const Napi::Promise::Deferred& deferred : settled) {
    if (error != 0) {
      deferred.Reject(SystemError(error, "poll").ToError(Env()).Value());
    } else {
      deferred.Resolve(Napi::Boolean::New(Env(), ready));
    }
  }
}
