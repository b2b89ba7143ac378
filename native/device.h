// SPDX-License-Identifier: MIT
// An open block device, and the handle that JavaScript has on it.
#ifndef BLKFILTER_DEVICE_H
#define BLKFILTER_DEVICE_H

#include <napi.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "worker.h"

// Shared by the handle and by the workers that use it, so that neither a close nor the garbage collector takes the
// file descriptor away from a running call.
class Device {
 public:
  // Throws SystemError; ENOTBLK when the path names something else.
  explicit Device(const std::string& path);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void Close();
  void Ioctl(unsigned long number, void* argument, const char* request) const;
  // One BLKFILTER_CTL. Returns the bytes that the filter left at `opt`.
  uint32_t Ctl(const std::string& filter, uint32_t command, void* opt, uint32_t length, const char* request) const;

  // Closing begins when close() is called, not when it is done: what is called after it fails.
  bool closing = false;
  dev_t number = 0;
  const std::shared_ptr<SerialQueue> queue = std::make_shared<SerialQueue>();

 private:
  int fd_ = -1;
};

class Handle : public Napi::ObjectWrap<Handle> {
 public:
  static Napi::Function Define(Napi::Env env);
  // The device behind a handle that JavaScript passed in.
  static std::shared_ptr<Device> DeviceOf(const Napi::Value& value);

  explicit Handle(const Napi::CallbackInfo& info);

 private:
  Napi::Value Major(const Napi::CallbackInfo& info);
  Napi::Value Minor(const Napi::CallbackInfo& info);
  Napi::Value Sectors(const Napi::CallbackInfo& info);
  Napi::Value Attach(const Napi::CallbackInfo& info);
  Napi::Value Detach(const Napi::CallbackInfo& info);
  Napi::Value Ctl(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  std::shared_ptr<Device> device_;
};

// What one environment (the main thread, a worker thread) keeps.
struct AddonData {
  Napi::FunctionReference handle;
};

// open(path): a promise of a handle.
Napi::Value Open(const Napi::CallbackInfo& info);

// Runs `work(device, state)` behind what the device is already doing. Rejects with EBADF once close() was called.
template <class State, class Work, class Convert>
Napi::Promise RunOn(Napi::Env env, std::shared_ptr<Device> device, State state, Work work, Convert convert) {
  // Asked here, on the environment's thread: what was called before close() still runs.
  const bool closed = device->closing;
  auto queue = device->queue;
  return RunAsync(
      env, std::move(queue), std::move(state),
      [device = std::move(device), closed, work = std::move(work)](State& s) {
        if (closed) throw SystemError(EBADF, "ioctl");
        work(*device, s);
      },
      std::move(convert));
}

inline Napi::Value Undefined(Napi::Env env) { return env.Undefined(); }

// Sectors, bytes and epochs cross as numbers that are exact; anything else is an error, in both directions.
Napi::Number NumberFrom(Napi::Env env, uint64_t value);
uint64_t Uint64From(const Napi::Value& value);

#endif  // BLKFILTER_DEVICE_H
