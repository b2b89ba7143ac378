// SPDX-License-Identifier: MIT
// The addon's exports. Nothing is kept outside an environment, so that worker threads may load it too.
#include <linux/blk-filter.h>
#include <napi.h>

#include "cbt.h"
#include "device.h"
#include "guard.h"
#include "poll.h"
#include "trace.h"
#include "uevent.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonData{Napi::Persistent(Handle::Define(env)), Napi::Persistent(TraceStream::Define(env))});
  exports["filterNameLength"] = Napi::Number::New(env, BLKFILTER_NAME_LENGTH);
  exports["open"] = Napi::Function::New<Open>(env, "open");
  exports["punch"] = Napi::Function::New<Punch>(env, "punch");
  exports["lock"] = Napi::Function::New<Lock>(env, "lock");
  exports["forget"] = Napi::Function::New<Forget>(env, "forget");
  exports["Poll"] = Poll::Define(env);
  exports["cbt"] = CbtExports(env);
  exports["guard"] = GuardExports(env);
  exports["uevents"] = UeventExports(env);
  exports["trace"] = TraceExports(env);
  return exports;
}

NODE_API_MODULE(blkfilter, Init)
