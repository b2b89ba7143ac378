// SPDX-License-Identifier: MIT
#include "trace.h"

#include <fcntl.h>
#include <linux/blkfilter/trace.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <unordered_map>

#include "device.h"

namespace {

// What one read() may give: some two thousand events.
constexpr size_t kBatchBytes = 256 * 1024;

constexpr const char* kOperations[] = {
    "read",         "write",      "flush",      "discard",     "secure-erase", "write-zeroes",   "zone-append",
    "zone-open",    "zone-close", "zone-finish", "zone-reset", "zone-reset-all", "other",
};
static_assert(sizeof(kOperations) / sizeof(*kOperations) == BLKFILTER_TRACE_OPS);

constexpr struct {
  __u32 flag;
  const char* name;
} kFlags[] = {
    {BLKFILTER_TRACE_SYNC, "sync"},
    {BLKFILTER_TRACE_META, "metadata"},
    {BLKFILTER_TRACE_PRIO, "priority"},
    {BLKFILTER_TRACE_FUA, "fua"},
    {BLKFILTER_TRACE_PREFLUSH, "preflush"},
    {BLKFILTER_TRACE_READAHEAD, "readahead"},
    {BLKFILTER_TRACE_BACKGROUND, "background"},
    {BLKFILTER_TRACE_IDLE, "idle"},
    {BLKFILTER_TRACE_NOWAIT, "nowait"},
    {BLKFILTER_TRACE_POLLED, "polled"},
    {BLKFILTER_TRACE_SWAP, "swap"},
};

const char* NameOf(__u32 reason) { return reason == BLKFILTER_TRACE_REMOVED ? "removed" : "detached"; }

using Event = blkfilter_trace_event;
using Segment = blkfilter_trace_segment;

const Segment* SegmentsOf(const Event* event) { return reinterpret_cast<const Segment*>(event + 1); }

// What one read() gave, sorted by kind.
struct Records {
  std::vector<const Event*> events;
  std::vector<const blkfilter_trace_drops*> drops;
  const blkfilter_trace_end* end = nullptr;
  size_t segments = 0;

  Records(const uint8_t* data, size_t length) {
    for (size_t at = 0; at < length;) {
      const auto* record = reinterpret_cast<const blkfilter_trace_record*>(data + at);
      if (record->size < sizeof(*record) || record->size > length - at) throw SystemError(EPROTO, "read", "trace");
      Add(record);
      at += record->size;
    }
    // The buffers of the CPUs come one after the other.
    std::stable_sort(events.begin(), events.end(),
                     [](const Event* a, const Event* b) { return a->time + a->latency < b->time + b->latency; });
  }

 private:
  void Add(const blkfilter_trace_record* record) {
    switch (record->type) {
      case BLKFILTER_TRACE_EVENT: {
        const auto* event = reinterpret_cast<const Event*>(record);
        if (record->size < sizeof(Event) || record->size != sizeof(Event) + event->segments * sizeof(Segment) ||
            event->operation >= BLKFILTER_TRACE_OPS) {
          throw SystemError(EPROTO, "read", "trace");
        }
        events.push_back(event);
        segments += event->segments;
        break;
      }
      case BLKFILTER_TRACE_DROPS:
        drops.push_back(reinterpret_cast<const blkfilter_trace_drops*>(record));
        break;
      case BLKFILTER_TRACE_END:
        end = reinterpret_cast<const blkfilter_trace_end*>(record);
        break;
    }
  }
};

// One array a field, whose elements `get` takes from the events.
template <class Array, class Get>
Array Column(Napi::Env env, const std::vector<const Event*>& events, Get get) {
  Array column = Array::New(env, events.size());
  auto* to = column.Data();
  for (const Event* event : events) *to++ = get(*event);
  return column;
}

// Numbers that are exact, or an error.
double Exact(uint64_t value) {
  if (value > kMaxSafeInteger) throw SystemError(EOVERFLOW, "read", "trace");
  return static_cast<double>(value);
}

Napi::Float64Array Numbers(Napi::Env env, const std::vector<const Event*>& events, __u64 Event::*field) {
  return Column<Napi::Float64Array>(env, events, [field](const Event& event) { return Exact(event.*field); });
}

Napi::Uint32Array Integers(Napi::Env env, const std::vector<const Event*>& events, __u32 Event::*field) {
  return Column<Napi::Uint32Array>(env, events, [field](const Event& event) { return event.*field; });
}

// Texts that come again and again, each once; columns hold their places.
class Texts {
 public:
  uint32_t PlaceOf(const std::string& text) {
    const auto [found, added] = places_.try_emplace(text, static_cast<uint32_t>(texts_.size()));
    if (added) texts_.push_back(text);
    return found->second;
  }

  Napi::Array ToArray(Napi::Env env) const {
    Napi::Array array = Napi::Array::New(env, texts_.size());
    for (uint32_t i = 0; i < texts_.size(); i++) array[i] = Napi::String::New(env, texts_[i]);
    return array;
  }

 private:
  std::unordered_map<std::string, uint32_t> places_;
  std::vector<std::string> texts_;
};

std::string DeviceOf(__u32 major, __u32 minor) { return std::to_string(major) + ":" + std::to_string(minor); }

std::string CommOf(const Event& event) {
  const auto* name = reinterpret_cast<const char*>(event.comm);
  return {name, strnlen(name, sizeof(event.comm))};
}

// Those of event I are the ones from firsts[I] to firsts[I + 1].
void AddSegments(Napi::Env env, Napi::Object& batch, const Records& records) {
  auto firsts = Napi::Uint32Array::New(env, records.events.size() + 1);
  auto positions = Napi::Float64Array::New(env, records.segments);
  auto offsets = Napi::Uint32Array::New(env, records.segments);
  auto lengths = Napi::Uint32Array::New(env, records.segments);
  uint32_t* first = firsts.Data();
  size_t at = 0;
  for (const Event* event : records.events) {
    *first++ = at;
    for (const Segment *one = SegmentsOf(event), *end = one + event->segments; one < end; one++, at++) {
      positions.Data()[at] = Exact(one->position);
      offsets.Data()[at] = one->offset;
      lengths.Data()[at] = one->length;
    }
  }
  *first = at;
  batch["segmentFirsts"] = firsts;
  batch["segmentPositions"] = positions;
  batch["segmentOffsets"] = offsets;
  batch["segmentLengths"] = lengths;
}

Napi::Object BatchFrom(Napi::Env env, const Records& records) {
  const auto& events = records.events;
  Napi::Object batch = Napi::Object::New(env);
  batch["length"] = Napi::Number::New(env, events.size());
  batch["time"] = Column<Napi::BigUint64Array>(env, events, [](const Event& event) { return event.time; });
  batch["latency"] = Numbers(env, events, &Event::latency);
  batch["sector"] = Numbers(env, events, &Event::sector);
  batch["count"] = Numbers(env, events, &Event::count);
  batch["cgroup"] = Numbers(env, events, &Event::cgroup);
  batch["matches"] = Numbers(env, events, &Event::matches);
  batch["operation"] = Integers(env, events, &Event::operation);
  batch["flags"] = Integers(env, events, &Event::flags);
  batch["status"] = Integers(env, events, &Event::status);
  batch["cpu"] = Integers(env, events, &Event::cpu);
  batch["pid"] = Integers(env, events, &Event::tgid);
  batch["tid"] = Integers(env, events, &Event::tid);

  Texts comms, devices;
  batch["comm"] = Column<Napi::Uint32Array>(env, events, [&](const Event& e) { return comms.PlaceOf(CommOf(e)); });
  batch["comms"] = comms.ToArray(env);
  batch["submittedTo"] = Column<Napi::Uint32Array>(
      env, events, [&](const Event& e) { return devices.PlaceOf(DeviceOf(e.submitted_major, e.submitted_minor)); });
  batch["device"] = Column<Napi::Uint32Array>(
      env, events, [&](const Event& e) { return devices.PlaceOf(DeviceOf(e.seen_major, e.seen_minor)); });
  batch["devices"] = devices.ToArray(env);
  AddSegments(env, batch, records);

  Napi::Array drops = Napi::Array::New(env, records.drops.size());
  for (uint32_t i = 0; i < records.drops.size(); i++) {
    Napi::Object one = Napi::Object::New(env);
    one["cpu"] = Napi::Number::New(env, records.drops[i]->cpu);
    one["count"] = Napi::Number::New(env, Exact(records.drops[i]->count));
    drops[i] = one;
  }
  batch["drops"] = drops;
  batch["ended"] = records.end ? Napi::String::New(env, NameOf(records.end->reason)) : env.Null();
  return batch;
}

// configure(device, { buffer, sector, count, cgroup, operations, task, segments, pattern })
Napi::Value Configure(const Napi::CallbackInfo& call) {
  const auto options = call[1].As<Napi::Object>();
  const auto pattern = options.Get("pattern").As<Napi::Uint8Array>();
  if (pattern.ByteLength() > BLKFILTER_TRACE_PATTERN_MAX) throw Napi::RangeError::New(call.Env(), "pattern too long");

  blkfilter_trace_config config{};
  config.buffer = Uint64From(options.Get("buffer"));
  config.sector = Uint64From(options.Get("sector"));
  config.count = Uint64From(options.Get("count"));
  config.cgroup = Uint64From(options.Get("cgroup"));
  config.operations = options.Get("operations").As<Napi::Number>().Uint32Value();
  config.task = options.Get("task").As<Napi::Number>().Uint32Value();
  if (options.Get("segments").ToBoolean()) config.options |= BLKFILTER_TRACE_SEGMENTS;
  config.pattern_length = pattern.ByteLength();
  std::memcpy(config.pattern, pattern.Data(), pattern.ByteLength());
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), config,
      [](const Device& device, blkfilter_trace_config& argument) {
        device.Ctl(BLKFILTER_TRACE_NAME, BLKFILTER_TRACE_CONFIGURE, argument, "BLKFILTER_TRACE_CONFIGURE");
      },
      [](Napi::Env env, const blkfilter_trace_config&) { return Undefined(env); });
}

// open(device): a promise of a TraceStream.
Napi::Value OpenStream(const Napi::CallbackInfo& call) {
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), std::make_shared<TraceStream::Descriptor>(),
      [](const Device& device, const std::shared_ptr<TraceStream::Descriptor>& descriptor) {
        blkfilter_trace_open open{};
        device.Ctl(BLKFILTER_TRACE_NAME, BLKFILTER_TRACE_OPEN, open, "BLKFILTER_TRACE_OPEN");
        descriptor->fd = open.fd;
        if (fcntl(open.fd, F_SETFL, O_NONBLOCK) != 0) throw SystemError(errno, "fcntl");
      },
      [](Napi::Env env, std::shared_ptr<TraceStream::Descriptor>& descriptor) {
        return env.GetInstanceData<AddonData>()->trace_stream.New(
            {Napi::External<std::shared_ptr<TraceStream::Descriptor>>::New(env, &descriptor)});
      });
}

}  // namespace

void TraceStream::Descriptor::Close() {
  if (fd >= 0) close(fd);
  fd = -1;
}

Napi::Function TraceStream::Define(Napi::Env env) {
  return DefineClass(env, "TraceStream",
                     {InstanceAccessor<&TraceStream::Fd>("fd"), InstanceMethod<&TraceStream::Read>("read"),
                      InstanceMethod<&TraceStream::Close>("close")});
}

// Only OpenStream() makes them; it passes the descriptor.
TraceStream::TraceStream(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<TraceStream>(info), buffer_(kBatchBytes / sizeof(uint64_t)) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use open()");
  descriptor_ = *info[0].As<Napi::External<std::shared_ptr<Descriptor>>>().Data();
}

Napi::Value TraceStream::Fd(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), descriptor_->fd); }

Napi::Value TraceStream::Read(const Napi::CallbackInfo& info) {
  ssize_t got;
  do {
    got = read(descriptor_->fd, buffer_.data(), kBatchBytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return info.Env().Null();
  try {
    if (got < 0) throw SystemError(errno, "read", "trace");
    return BatchFrom(info.Env(), Records(reinterpret_cast<const uint8_t*>(buffer_.data()), got));
  } catch (const SystemError& failure) {
    throw failure.ToError(info.Env());
  }
}

Napi::Value TraceStream::Close(const Napi::CallbackInfo& info) {
  descriptor_->Close();
  return info.Env().Undefined();
}

Napi::Object TraceExports(Napi::Env env) {
  Napi::Object exports = Napi::Object::New(env);
  exports["bufferDefault"] = Napi::Number::New(env, BLKFILTER_TRACE_BUFFER_DEFAULT);
  exports["bufferMin"] = Napi::Number::New(env, BLKFILTER_TRACE_BUFFER_MIN);
  exports["bufferMax"] = Napi::Number::New(env, BLKFILTER_TRACE_BUFFER_MAX);
  exports["patternMax"] = Napi::Number::New(env, BLKFILTER_TRACE_PATTERN_MAX);
  Napi::Array operations = Napi::Array::New(env);
  for (uint32_t i = 0; i < BLKFILTER_TRACE_OPS; i++) operations[i] = Napi::String::New(env, kOperations[i]);
  exports["operations"] = operations;
  Napi::Array flags = Napi::Array::New(env);
  for (const auto& [flag, name] : kFlags) flags[__builtin_ctz(flag)] = Napi::String::New(env, name);
  exports["flags"] = flags;
  exports["configure"] = Napi::Function::New<Configure>(env, "configure");
  exports["open"] = Napi::Function::New<OpenStream>(env, "open");
  return exports;
}
