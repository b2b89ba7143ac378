// SPDX-License-Identifier: MIT
#include "cbt.h"

#include <linux/blkfilter/cbt.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "device.h"

namespace {

using Generation = __u8[16];

std::string TextOf(const Generation& generation) {
  std::string text;
  for (size_t i = 0; i < sizeof(generation); i++) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", generation[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits;
  }
  return text;
}

// Null means any generation, which the kernel takes as zeroes.
void CopyGeneration(Generation& generation, const Napi::Value& value) {
  std::memset(generation, 0, sizeof(generation));
  if (value.IsNull()) return;
  std::string digits = value.As<Napi::String>().Utf8Value();
  digits.erase(std::remove(digits.begin(), digits.end(), '-'), digits.end());
  const bool valid = digits.size() == 2 * sizeof(generation) &&
                     digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  if (!valid) throw Napi::TypeError::New(value.Env(), "not a UUID");
  for (size_t i = 0; i < sizeof(generation); i++) {
    generation[i] = static_cast<__u8>(std::stoul(digits.substr(2 * i, 2), nullptr, 16));
  }
}

const char* NameOf(__u32 gap) {
  switch (gap) {
    case BLKFILTER_CBT_GAP_ATTACHED:
      return "attached";
    case BLKFILTER_CBT_GAP_BYPASSED:
      return "bypassed";
    case BLKFILTER_CBT_GAP_MEDIUM:
      return "medium";
    case BLKFILTER_CBT_GAP_MAPPING:
      return "mapping";
    case BLKFILTER_CBT_GAP_HIBERNATED:
      return "hibernated";
    case BLKFILTER_CBT_GAP_FORKED:
      return "forked";
    default:
      return "unknown";
  }
}

Napi::Value Info(const Napi::CallbackInfo& call) {
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), blkfilter_cbt_info{},
      [](const Device& device, blkfilter_cbt_info& info) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_INFO, info, "BLKFILTER_CBT_INFO");
      },
      [](Napi::Env env, const blkfilter_cbt_info& info) {
        Napi::Object result = Napi::Object::New(env);
        result["sectors"] = NumberFrom(env, info.sectors);
        result["blockSize"] = Napi::Number::New(env, info.block_size);
        result["epoch"] = NumberFrom(env, info.epoch);
        result["generation"] = Napi::String::New(env, TextOf(info.generation));
        result["gap"] = Napi::String::New(env, NameOf(info.gap));
        result["memory"] = NumberFrom(env, info.memory);
        result["overreported"] = NumberFrom(env, info.overreported);
        return result;
      });
}

Napi::Value Configure(const Napi::CallbackInfo& call) {
  blkfilter_cbt_config config{};
  config.block_size = call[1].As<Napi::Number>().Uint32Value();
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), config,
      [](const Device& device, blkfilter_cbt_config& argument) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_CONFIGURE, argument, "BLKFILTER_CBT_CONFIGURE");
      },
      [](Napi::Env env, const blkfilter_cbt_config&) { return Undefined(env); });
}

Napi::Value Checkpoint(const Napi::CallbackInfo& call) {
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), blkfilter_cbt_checkpoint{},
      [](const Device& device, blkfilter_cbt_checkpoint& checkpoint) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_CHECKPOINT, checkpoint, "BLKFILTER_CBT_CHECKPOINT");
      },
      [](Napi::Env env, const blkfilter_cbt_checkpoint& checkpoint) {
        Napi::Object result = Napi::Object::New(env);
        result["generation"] = Napi::String::New(env, TextOf(checkpoint.generation));
        result["epoch"] = NumberFrom(env, checkpoint.epoch);
        return result;
      });
}

struct ChangesCall {
  blkfilter_cbt_changes argument{};
  std::vector<blkfilter_cbt_extent> extents;
};

// changes(device, generation, since, cursor, end, capacity): one bounded read.
Napi::Value Changes(const Napi::CallbackInfo& call) {
  ChangesCall state;
  CopyGeneration(state.argument.generation, call[1]);
  state.argument.since = Uint64From(call[2]);
  state.argument.cursor = Uint64From(call[3]);
  state.argument.end = Uint64From(call[4]);
  state.argument.capacity = call[5].As<Napi::Number>().Uint32Value();
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), std::move(state),
      [](const Device& device, ChangesCall& changes) {
        changes.extents.resize(changes.argument.capacity);
        changes.argument.extents = reinterpret_cast<uintptr_t>(changes.extents.data());
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_CHANGES, changes.argument, "BLKFILTER_CBT_CHANGES");
        changes.extents.resize(std::min(changes.argument.count, changes.argument.capacity));
      },
      [](Napi::Env env, const ChangesCall& changes) {
        // Sector and count in turns: one array costs less than an object for each extent. Each extent lies below `end`,
        // so checking that checks them all.
        auto extents = Napi::Float64Array::New(env, 2 * changes.extents.size());
        const Napi::Number end = NumberFrom(env, changes.argument.end);
        size_t i = 0;
        for (const blkfilter_cbt_extent& extent : changes.extents) {
          if (extent.sector > changes.argument.end || extent.count > changes.argument.end - extent.sector) {
            throw SystemError(EOVERFLOW, "ioctl", "BLKFILTER_CBT_CHANGES");
          }
          extents[i++] = static_cast<double>(extent.sector);
          extents[i++] = static_cast<double>(extent.count);
        }
        Napi::Object result = Napi::Object::New(env);
        result["generation"] = Napi::String::New(env, TextOf(changes.argument.generation));
        result["epoch"] = NumberFrom(env, changes.argument.epoch);
        result["cursor"] = NumberFrom(env, changes.argument.cursor);
        result["end"] = end;
        result["extents"] = extents;
        return result;
      });
}

struct BitmapCall {
  blkfilter_cbt_bitmap argument{};
  std::vector<uint8_t> bits;
};

// bitmap(device, generation, since, sector, count, length)
Napi::Value Bitmap(const Napi::CallbackInfo& call) {
  BitmapCall state;
  CopyGeneration(state.argument.generation, call[1]);
  state.argument.since = Uint64From(call[2]);
  state.argument.sector = Uint64From(call[3]);
  state.argument.count = Uint64From(call[4]);
  state.argument.length = call[5].As<Napi::Number>().Uint32Value();
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), std::move(state),
      [](const Device& device, BitmapCall& bitmap) {
        bitmap.bits.resize(bitmap.argument.length);
        bitmap.argument.bits = reinterpret_cast<uintptr_t>(bitmap.bits.data());
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_BITMAP, bitmap.argument, "BLKFILTER_CBT_BITMAP");
      },
      [](Napi::Env env, const BitmapCall& bitmap) {
        Napi::Object result = Napi::Object::New(env);
        result["generation"] = Napi::String::New(env, TextOf(bitmap.argument.generation));
        result["epoch"] = NumberFrom(env, bitmap.argument.epoch);
        result["bits"] = Napi::Buffer<uint8_t>::Copy(env, bitmap.bits.data(), bitmap.bits.size());
        return result;
      });
}

// mark(device, sector, count)
Napi::Value Mark(const Napi::CallbackInfo& call) {
  const blkfilter_cbt_extent extent{Uint64From(call[1]), Uint64From(call[2])};
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), extent,
      [](const Device& device, blkfilter_cbt_extent& argument) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_MARK, argument, "BLKFILTER_CBT_MARK");
      },
      [](Napi::Env env, const blkfilter_cbt_extent&) { return Undefined(env); });
}

struct EpochsCall {
  blkfilter_cbt_epochs argument{};
  std::vector<blkfilter_cbt_epoch> epochs;
};

Napi::Number MillisecondsFrom(Napi::Env env, __s64 seconds, __u32 nanoseconds) {
  return Napi::Number::New(env, static_cast<double>(seconds) * 1000 + nanoseconds / 1000000);
}

// Reads the list to its end, of one generation.
void ReadEpochs(const Device& device, EpochsCall& call) {
  blkfilter_cbt_epochs& argument = call.argument;
  do {
    const size_t before = call.epochs.size();
    call.epochs.resize(before + BLKFILTER_CBT_EPOCHS_MAX);
    argument.epochs = reinterpret_cast<uintptr_t>(call.epochs.data() + before);
    argument.capacity = BLKFILTER_CBT_EPOCHS_MAX;
    device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_EPOCHS, argument, "BLKFILTER_CBT_EPOCHS");
    call.epochs.resize(before + std::min(argument.count, argument.capacity));
  } while (argument.cursor != 0);
}

Napi::Value History(const Napi::CallbackInfo& call) {
  return RunOn(call.Env(), Handle::DeviceOf(call[0]), EpochsCall{}, ReadEpochs, [](Napi::Env env, const EpochsCall& read) {
    auto epochs = Napi::Array::New(env, read.epochs.size());
    uint32_t i = 0;
    for (const blkfilter_cbt_epoch& epoch : read.epochs) {
      Napi::Object entry = Napi::Object::New(env);
      entry["epoch"] = NumberFrom(env, epoch.epoch);
      entry["time"] = MillisecondsFrom(env, epoch.seconds, epoch.nanoseconds);
      const char* name = reinterpret_cast<const char*>(epoch.name);
      entry["name"] = Napi::String::New(env, name, strnlen(name, sizeof(epoch.name)));
      epochs[i++] = entry;
    }
    Napi::Object result = Napi::Object::New(env);
    result["generation"] = Napi::String::New(env, TextOf(read.argument.generation));
    result["gap"] = Napi::String::New(env, NameOf(read.argument.gap));
    result["began"] = MillisecondsFrom(env, read.argument.seconds, read.argument.nanoseconds);
    result["epochs"] = epochs;
    return result;
  });
}

using EpochName = __u8[BLKFILTER_CBT_EPOCH_NAME_LENGTH];

// One that is too long fills the field, without the NUL that the kernel wants at its end.
void CopyName(EpochName& name, const Napi::Value& value) {
  const std::string text = value.As<Napi::String>().Utf8Value();
  std::memcpy(name, text.data(), std::min(text.size(), sizeof(name)));
}

// name(device, generation, epoch, name)
Napi::Value NameEpoch(const Napi::CallbackInfo& call) {
  blkfilter_cbt_epoch_name name{};
  CopyGeneration(name.generation, call[1]);
  name.epoch = Uint64From(call[2]);
  CopyName(name.name, call[3]);
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), name,
      [](const Device& device, blkfilter_cbt_epoch_name& argument) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_NAME_EPOCH, argument, "BLKFILTER_CBT_NAME_EPOCH");
      },
      [](Napi::Env env, const blkfilter_cbt_epoch_name&) { return Undefined(env); });
}

// forget(device, name)
Napi::Value ForgetName(const Napi::CallbackInfo& call) {
  blkfilter_cbt_forget forget{};
  CopyName(forget.name, call[1]);
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), forget,
      [](const Device& device, blkfilter_cbt_forget& argument) {
        device.Ctl(BLKFILTER_CBT_NAME, BLKFILTER_CBT_FORGET, argument, "BLKFILTER_CBT_FORGET");
      },
      [](Napi::Env env, const blkfilter_cbt_forget&) { return Undefined(env); });
}

}  // namespace

Napi::Object CbtExports(Napi::Env env) {
  Napi::Object exports = Napi::Object::New(env);
  exports["blockSizeDefault"] = Napi::Number::New(env, BLKFILTER_CBT_BLOCK_SIZE_DEFAULT);
  exports["blockSizeMin"] = Napi::Number::New(env, BLKFILTER_CBT_BLOCK_SIZE_MIN);
  exports["blockSizeMax"] = Napi::Number::New(env, BLKFILTER_CBT_BLOCK_SIZE_MAX);
  exports["info"] = Napi::Function::New<Info>(env, "info");
  exports["configure"] = Napi::Function::New<Configure>(env, "configure");
  exports["checkpoint"] = Napi::Function::New<Checkpoint>(env, "checkpoint");
  exports["changes"] = Napi::Function::New<Changes>(env, "changes");
  exports["bitmap"] = Napi::Function::New<Bitmap>(env, "bitmap");
  exports["mark"] = Napi::Function::New<Mark>(env, "mark");
  exports["history"] = Napi::Function::New<History>(env, "history");
  exports["name"] = Napi::Function::New<NameEpoch>(env, "name");
  exports["forget"] = Napi::Function::New<ForgetName>(env, "forget");
  return exports;
}
