// SPDX-License-Identifier: MIT
// Waiting for a file descriptor.
#ifndef BLKFILTER_POLL_H
#define BLKFILTER_POLL_H

#include <napi.h>

#include <memory>
#include <thread>
#include <vector>

// new Poll(fd, 'readable' | 'exceptional'). It polls a duplicate of its own, so it does not matter when `fd` is closed, or
// what is opened by that number next.
//
// A thread of its own does, for Node-API offers nothing that would: libuv is no part of it, whose headers are missing
// where only those of Node-API are, and which the prebuilt addon must not depend on.
class Poll : public Napi::ObjectWrap<Poll> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit Poll(const Napi::CallbackInfo& info);
  ~Poll() override;

 private:
  struct Watcher;
  struct Outcome;
  static void Deliver(Napi::Env env, Napi::Function, void*, Outcome* outcome);
  using Channel = Napi::TypedThreadSafeFunction<void, Outcome, Deliver>;

  // wait(): a promise of true when it is ready, of false when it is closed meanwhile. Keeps the process running; a Poll
  // that nobody waits on does not.
  Napi::Value Wait(const Napi::CallbackInfo& info);
  // close(): once more does nothing.
  Napi::Value Close(const Napi::CallbackInfo& info);

  static void Run(const std::shared_ptr<Watcher>& watcher, Channel channel);
  static void OnTeardown(void* self);
  void Stop();
  void Settle(int error, bool ready);

  const napi_env env_;
  std::shared_ptr<Watcher> watcher_;
  std::thread thread_;
  Channel channel_;
  std::vector<Napi::Promise::Deferred> waiting_;
};

#endif  // BLKFILTER_POLL_H
