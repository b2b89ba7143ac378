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
  // The same with a struct of the filter's interface.
  template <class Argument>
  void Ctl(const std::string& filter, uint32_t command, Argument& argument, const char* request) const {
    Ctl(filter, command, &argument, sizeof(argument), request);
  }
  // Writes out what the page cache holds of it.
  void Flush() const;
  // All of `length` bytes at `offset`, past the page cache, to `data`, which is aligned to kAlignment.
  void Read(void* data, size_t length, uint64_t offset);

  // Closing begins when close() is called, not when it is done: what is called after it fails.
  bool closing = false;
  dev_t number = 0;
  const std::shared_ptr<SerialQueue> queue = std::make_shared<SerialQueue>();

 private:
  int fd_ = -1;
  // Opened by the first Read(). Calls run one after the other, so nobody else does at the same time.
  int direct_fd_ = -1;
};

// What O_DIRECT asks of memory, at most, on any device.
constexpr size_t kAlignment = 4096;

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
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Flush(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  std::shared_ptr<Device> device_;
};

// What one environment (the main thread, a worker thread) keeps.
struct AddonData {
  Napi::FunctionReference handle;
  Napi::FunctionReference trace_stream;
};

// open(path): a promise of a handle.
Napi::Value Open(const Napi::CallbackInfo& info);

// punch(fd, offset, length): a promise; makes a hole in a file, zeroes on a device. The caller keeps `fd` open.
Napi::Value Punch(const Napi::CallbackInfo& info);

// lock(fd): whether nobody else has locked the file. The lock goes when it is closed, or the process ends. Throws where
// the file system knows no locks.
Napi::Value Lock(const Napi::CallbackInfo& info);

// forget(fd): a promise; drops what the page cache holds and the disk has, so that reading asks the disk. The caller
// keeps `fd` open.
Napi::Value Forget(const Napi::CallbackInfo& info);

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

constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

// Sectors, bytes and epochs cross as numbers that are exact; anything else is an error, in both directions.
Napi::Number NumberFrom(Napi::Env env, uint64_t value);
uint64_t Uint64From(const Napi::Value& value);

#endif  // BLKFILTER_DEVICE_H
