// SPDX-License-Identifier: MIT
#include "uevent.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "worker.h"

namespace {

// What the kernel sends to, and not what udev sends on to others, which is group 2.
constexpr unsigned int kKernelGroup = 1;

// The kernel's own limit of one message's variables is 2 KiB, that of the path before them 1 KiB.
constexpr size_t kMessageSize = 8192;

// One call does not hold up the event loop for longer than it takes to decode so many.
constexpr int kMessagesPerCall = 1024;

// "ACTION@DEVPATH", then "KEY=VALUE" of which two are ACTION and DEVPATH again, each ended by a NUL.
std::optional<Napi::Object> Decode(Napi::Env env, std::string_view message) {
  Napi::Object variables = Napi::Object::New(env);
  bool of_block = false;
  for (size_t at = message.find('\0'); at < message.size(); at = message.find('\0', at)) {
    at++;
    const std::string_view variable = message.substr(at, message.find('\0', at) - at);
    const size_t equals = variable.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = variable.substr(0, equals);
    const std::string_view value = variable.substr(equals + 1);
    of_block = of_block || (key == "SUBSYSTEM" && value == "block");
    variables.Set(Napi::String::New(env, key.data(), key.size()), Napi::String::New(env, value.data(), value.size()));
  }
  if (!of_block) return std::nullopt;
  return variables;
}

// open(bytes): a socket that listens, with room for so many bytes of messages.
Napi::Value Open(const Napi::CallbackInfo& call) {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) throw SystemError(errno, "socket").ToError(call.Env());
  const int bytes = call[0].As<Napi::Number>().Int32Value();
  // Beyond the system's limit with CAP_NET_ADMIN only; anyone else gets what the limit allows.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    const Napi::Error error = SystemError(errno, "bind").ToError(call.Env());
    close(fd);
    throw error;
  }
  return Napi::Number::New(call.Env(), fd);
}

// receive(fd): { messages, lost, drained }, without waiting. `lost`: the kernel had no room for some; once `drained`
// nothing that is still to be received comes from before the loss.
Napi::Value Receive(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  const int fd = call[0].As<Napi::Number>().Int32Value();
  Napi::Array messages = Napi::Array::New(env);
  uint32_t count = 0;
  bool lost = false;
  bool drained = false;
  for (int i = 0; i < kMessagesPerCall && !drained; i++) {
    char data[kMessageSize];
    sockaddr_nl sender{};
    iovec place{data, sizeof(data)};
    msghdr header{};
    header.msg_name = &sender;
    header.msg_namelen = sizeof(sender);
    header.msg_iov = &place;
    header.msg_iovlen = 1;
    const ssize_t length = recvmsg(fd, &header, 0);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != ENOBUFS && errno != EAGAIN) throw SystemError(errno, "recvmsg").ToError(env);
      lost = lost || errno == ENOBUFS;
      drained = errno == EAGAIN;
      continue;
    }
    // Other processes may send to the group too, if they are privileged.
    if (sender.nl_pid != 0) continue;
    lost = lost || (header.msg_flags & MSG_TRUNC) != 0;
    Napi::HandleScope scope(env);
    const auto message = Decode(env, {data, static_cast<size_t>(length)});
    if (message) messages.Set(count++, *message);
  }
  Napi::Object result = Napi::Object::New(env);
  result["messages"] = messages;
  result["lost"] = Napi::Boolean::New(env, lost);
  result["drained"] = Napi::Boolean::New(env, drained);
  return result;
}

// decode(bytes): the variables of one message; null if it is not about a block device.
Napi::Value DecodeBytes(const Napi::CallbackInfo& call) {
  const auto bytes = call[0].As<Napi::Uint8Array>();
  const auto message = Decode(call.Env(), {reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()});
  return message ? Napi::Value(*message) : call.Env().Null();
}

}  // namespace

Napi::Object UeventExports(Napi::Env env) {
  Napi::Object exports = Napi::Object::New(env);
  exports["open"] = Napi::Function::New<Open>(env, "open");
  exports["receive"] = Napi::Function::New<Receive>(env, "receive");
  exports["decode"] = Napi::Function::New<DecodeBytes>(env, "decode");
  return exports;
}
