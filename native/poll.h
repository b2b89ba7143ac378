// SPDX-License-Identifier: MIT
// Waiting for a file descriptor, on the event loop and not in a thread.
#ifndef BLKFILTER_POLL_H
#define BLKFILTER_POLL_H

#include <napi.h>
#include <uv.h>

#include <vector>

// new Poll(fd, 'readable' | 'exceptional'); makes `fd` non-blocking. It polls a duplicate of its own, so it does not
// matter when `fd` is closed, or what is opened by that number next.
class Poll : public Napi::ObjectWrap<Poll> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit Poll(const Napi::CallbackInfo& info);
  ~Poll() override;

 private:
  struct Watcher;

  // wait(): a promise of true when it is ready, of false when it is closed meanwhile. Keeps the process running; a Poll
  // that nobody waits on does not.
  Napi::Value Wait(const Napi::CallbackInfo& info);
  // close(): once more does nothing.
  Napi::Value Close(const Napi::CallbackInfo& info);

  void Release();
  void Settle(int error, bool ready);
  static void OnEvent(uv_poll_t* handle, int error, int events);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle hook, void* watcher);

  const int events_;
  Watcher* watcher_ = nullptr;
  Napi::AsyncContext context_;
  std::vector<Napi::Promise::Deferred> waiting_;
};

#endif  // BLKFILTER_POLL_H
