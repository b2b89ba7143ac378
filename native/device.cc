// SPDX-License-Identifier: MIT
#include "device.h"

#include <fcntl.h>
#include <linux/blk-filter.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

// Not terminated when it fills the field.
void CopyName(__u8 (&field)[BLKFILTER_NAME_LENGTH], const std::string& name) {
  std::memset(field, 0, sizeof(field));
  std::memcpy(field, name.data(), std::min(name.size(), sizeof(field)));
}

// A name that is cut short could be another filter's.
std::string NameFrom(const Napi::Value& value) {
  std::string name = value.As<Napi::String>().Utf8Value();
  if (name.size() > BLKFILTER_NAME_LENGTH) throw Napi::RangeError::New(value.Env(), "filter name too long");
  return name;
}

}  // namespace

Device::Device(const std::string& path) {
  // Asked before opening: to open some character devices is to start them.
  struct stat status;
  if (stat(path.c_str(), &status) != 0) throw SystemError(errno, "open");
  if (!S_ISBLK(status.st_mode)) throw SystemError(ENOTBLK, "open");

  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw SystemError(errno, "open");

  // Asked again: the path may name something else by now.
  const int error = fstat(fd_, &status) != 0 ? errno : S_ISBLK(status.st_mode) ? 0 : ENOTBLK;
  if (error != 0) {
    Close();
    throw SystemError(error, "open");
  }
  number = status.st_rdev;
}

Device::~Device() { Close(); }

void Device::Close() {
  for (int* fd : {&fd_, &direct_fd_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

void Device::Ioctl(unsigned long ioctl_number, void* argument, const char* request) const {
  if (ioctl(fd_, ioctl_number, argument) != 0) throw SystemError(errno, "ioctl", request);
}

uint32_t Device::Ctl(const std::string& filter, uint32_t command, void* opt, uint32_t length,
                     const char* request) const {
  blkfilter_ctl ctl{};
  CopyName(ctl.name, filter);
  ctl.cmd = command;
  ctl.optlen = length;
  ctl.opt = reinterpret_cast<uintptr_t>(opt);
  Ioctl(BLKFILTER_CTL, &ctl, request);
  return ctl.optlen;
}

void Device::Flush() const {
  if (fsync(fd_) != 0) throw SystemError(errno, "fsync");
}

// The page cache of a device knows nothing of what a file system on it writes: what was read once would be read again,
// however old.
void Device::Read(void* data, size_t length, uint64_t offset) {
  if (direct_fd_ < 0) {
    // Not by its path, which may name another device by now.
    const std::string self = "/proc/self/fd/" + std::to_string(fd_);
    direct_fd_ = open(self.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct_fd_ < 0) throw SystemError(errno, "open");
  }
  for (size_t done = 0; done < length;) {
    const ssize_t got = pread(direct_fd_, static_cast<char*>(data) + done, length - done, offset + done);
    if (got < 0 && errno == EINTR) continue;
    // Nothing at all: the device ends before that.
    if (got <= 0) throw SystemError(got < 0 ? errno : ENXIO, "read");
    done += got;
  }
}

Napi::Function Handle::Define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceAccessor<&Handle::Major>("major"), InstanceAccessor<&Handle::Minor>("minor"),
                      InstanceMethod<&Handle::Sectors>("sectors"), InstanceMethod<&Handle::Attach>("attach"),
                      InstanceMethod<&Handle::Detach>("detach"), InstanceMethod<&Handle::Ctl>("ctl"),
                      InstanceMethod<&Handle::Read>("read"), InstanceMethod<&Handle::Flush>("flush"),
                      InstanceMethod<&Handle::Close>("close")});
}

std::shared_ptr<Device> Handle::DeviceOf(const Napi::Value& value) {
  const auto* data = value.Env().GetInstanceData<AddonData>();
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(data->handle.Value())) {
    throw Napi::TypeError::New(value.Env(), "not a device handle");
  }
  return Unwrap(value.As<Napi::Object>())->device_;
}

// Only Open() makes handles; it passes the open device.
Handle::Handle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Handle>(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use open()");
  device_ = *info[0].As<Napi::External<std::shared_ptr<Device>>>().Data();
}

Napi::Value Handle::Major(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), major(device_->number)); }

Napi::Value Handle::Minor(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), minor(device_->number)); }

Napi::Value Handle::Sectors(const Napi::CallbackInfo& info) {
  return RunOn(
      info.Env(), device_, uint64_t{0},
      [](const Device& device, uint64_t& bytes) { device.Ioctl(BLKGETSIZE64, &bytes, "BLKGETSIZE64"); },
      [](Napi::Env env, uint64_t bytes) { return NumberFrom(env, bytes / 512); });
}

Napi::Value Handle::Attach(const Napi::CallbackInfo& info) {
  blkfilter_name argument;
  CopyName(argument.name, NameFrom(info[0]));
  return RunOn(
      info.Env(), device_, argument,
      [](const Device& device, blkfilter_name& name) { device.Ioctl(BLKFILTER_ATTACH, &name, "BLKFILTER_ATTACH"); },
      [](Napi::Env env, const blkfilter_name&) { return Undefined(env); });
}

Napi::Value Handle::Detach(const Napi::CallbackInfo& info) {
  blkfilter_name argument;
  CopyName(argument.name, NameFrom(info[0]));
  return RunOn(
      info.Env(), device_, argument,
      [](const Device& device, blkfilter_name& name) { device.Ioctl(BLKFILTER_DETACH, &name, "BLKFILTER_DETACH"); },
      [](Napi::Env env, const blkfilter_name&) { return Undefined(env); });
}

Napi::Value Handle::Ctl(const Napi::CallbackInfo& info) {
  const std::string filter = NameFrom(info[0]);
  const uint32_t command = info[1].As<Napi::Number>().Uint32Value();
  // Copied, because JavaScript may write to its own buffer meanwhile.
  const auto bytes = info[2].As<Napi::Uint8Array>();
  std::vector<uint8_t> opt(bytes.Data(), bytes.Data() + bytes.ByteLength());
  return RunOn(
      info.Env(), device_, std::move(opt),
      [filter, command](const Device& device, std::vector<uint8_t>& data) {
        const size_t left = device.Ctl(filter, command, data.data(), data.size(), "BLKFILTER_CTL");
        data.resize(std::min(left, data.size()));
      },
      [](Napi::Env env, const std::vector<uint8_t>& data) {
        return Napi::Buffer<uint8_t>::Copy(env, data.data(), data.size());
      });
}

// read(sector, count): a buffer that the garbage collector frees.
Napi::Value Handle::Read(const Napi::CallbackInfo& info) {
  const uint64_t offset = Uint64From(info[0]) * 512;
  const uint64_t length = Uint64From(info[1]) * 512;
  return RunOn(
      info.Env(), device_, std::unique_ptr<void, decltype(&std::free)>(nullptr, &std::free),
      [offset, length](Device& device, std::unique_ptr<void, decltype(&std::free)>& data) {
        data.reset(std::aligned_alloc(kAlignment, (length + kAlignment - 1) / kAlignment * kAlignment));
        if (!data) throw SystemError(ENOMEM, "read");
        device.Read(data.get(), length, offset);
      },
      [length](Napi::Env env, std::unique_ptr<void, decltype(&std::free)>& data) {
        return Napi::Buffer<uint8_t>::New(env, static_cast<uint8_t*>(data.release()), length,
                                          [](Napi::Env, uint8_t* bytes) { std::free(bytes); });
      });
}

Napi::Value Handle::Flush(const Napi::CallbackInfo& info) {
  return RunOn(
      info.Env(), device_, 0, [](const Device& device, int) { device.Flush(); },
      [](Napi::Env env, int) { return Undefined(env); });
}

// Behind everything that was called before; once more does nothing.
Napi::Value Handle::Close(const Napi::CallbackInfo& info) {
  device_->closing = true;
  return RunAsync(
      info.Env(), device_->queue, device_, [](const std::shared_ptr<Device>& device) { device->Close(); },
      [](Napi::Env env, const std::shared_ptr<Device>&) { return Undefined(env); });
}

Napi::Value Open(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  return RunAsync(
      info.Env(), nullptr, std::shared_ptr<Device>(),
      [path](std::shared_ptr<Device>& device) { device = std::make_shared<Device>(path); },
      [](Napi::Env env, std::shared_ptr<Device>& device) {
        return env.GetInstanceData<AddonData>()->handle.New({Napi::External<std::shared_ptr<Device>>::New(env, &device)});
      });
}

Napi::Value Punch(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const uint64_t offset = Uint64From(info[1]);
  const uint64_t length = Uint64From(info[2]);
  return RunAsync(
      info.Env(), nullptr, 0,
      [fd, offset, length](int) {
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0) {
          throw SystemError(errno, "fallocate");
        }
      },
      [](Napi::Env env, int) { return Undefined(env); });
}

Napi::Value Lock(const Napi::CallbackInfo& info) {
  const bool locked = flock(info[0].As<Napi::Number>().Int32Value(), LOCK_EX | LOCK_NB) == 0;
  if (!locked && errno != EWOULDBLOCK) throw SystemError(errno, "flock").ToError(info.Env());
  return Napi::Boolean::New(info.Env(), locked);
}

Napi::Value Forget(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  return RunAsync(
      info.Env(), nullptr, 0,
      [fd](int) {
        // It returns the error.
        const int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (error != 0) throw SystemError(error, "fadvise64");
      },
      [](Napi::Env env, int) { return Undefined(env); });
}

Napi::Number NumberFrom(Napi::Env env, uint64_t value) {
  if (value > kMaxSafeInteger) throw SystemError(EOVERFLOW, "ioctl");
  return Napi::Number::New(env, static_cast<double>(value));
}

uint64_t Uint64From(const Napi::Value& value) {
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= kMaxSafeInteger && std::trunc(number) == number)) {
    throw Napi::RangeError::New(value.Env(), "not a safe integer");
  }
  return static_cast<uint64_t>(number);
}
