// SPDX-License-Identifier: MIT
#ifndef BLKFILTER_TRACE_H
#define BLKFILTER_TRACE_H

#include <napi.h>

#include <memory>
#include <vector>

// A stream of the trace filter: the file descriptor, and what was read from it last.
class TraceStream : public Napi::ObjectWrap<TraceStream> {
 public:
  // Closes the descriptor when nobody has it any more, whoever that is.
  class Descriptor {
   public:
    Descriptor() = default;
    ~Descriptor() { Close(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    void Close();

    int fd = -1;
  };

  static Napi::Function Define(Napi::Env env);

  explicit TraceStream(const Napi::CallbackInfo& info);

 private:
  Napi::Value Fd(const Napi::CallbackInfo& info);
  // read(): a batch of what there is; null when there is nothing yet.
  Napi::Value Read(const Napi::CallbackInfo& info);
  // close(): once more does nothing.
  Napi::Value Close(const Napi::CallbackInfo& info);

  std::shared_ptr<Descriptor> descriptor_;
  std::vector<uint64_t> buffer_;
};

// The commands of the trace filter, each taking a device handle first, and its constants.
Napi::Object TraceExports(Napi::Env env);

#endif  // BLKFILTER_TRACE_H
