// SPDX-License-Identifier: MIT
#include "guard.h"

#include <linux/blkfilter/guard.h>

#include <cerrno>
#include <vector>

#include "device.h"

namespace {

struct Rules {
  blkfilter_guard_rules argument{};
  std::vector<blkfilter_guard_rule> rules;
  std::vector<__u64> counters;
};

__u32 Uint32Of(const Napi::Object& object, const char* key) { return object.Get(key).As<Napi::Number>().Uint32Value(); }

blkfilter_guard_rule RuleFrom(const Napi::Object& object) {
  blkfilter_guard_rule rule{};
  rule.sector = Uint64From(object.Get("sector"));
  rule.count = Uint64From(object.Get("count"));
  rule.cgroup = Uint64From(object.Get("cgroup"));
  rule.operations = Uint32Of(object, "operations");
  rule.pid = Uint32Of(object, "pid");
  rule.action = Uint32Of(object, "action");
  rule.argument = Uint32Of(object, "argument");
  rule.chance = Uint32Of(object, "chance");
  return rule;
}

Napi::Object ObjectFrom(Napi::Env env, const blkfilter_guard_rule& rule, __u64 applied) {
  Napi::Object object = Napi::Object::New(env);
  object["sector"] = NumberFrom(env, rule.sector);
  object["count"] = NumberFrom(env, rule.count);
  object["cgroup"] = NumberFrom(env, rule.cgroup);
  object["operations"] = Napi::Number::New(env, rule.operations);
  object["pid"] = Napi::Number::New(env, rule.pid);
  object["action"] = Napi::Number::New(env, rule.action);
  object["argument"] = Napi::Number::New(env, rule.argument);
  object["chance"] = Napi::Number::New(env, rule.chance);
  object["applied"] = NumberFrom(env, applied);
  return object;
}

// setRules(device, rules, default)
Napi::Value SetRules(const Napi::CallbackInfo& call) {
  const auto rules = call[1].As<Napi::Array>();
  const auto rest = call[2].As<Napi::Object>();
  Rules state;
  for (uint32_t i = 0; i < rules.Length(); i++) state.rules.push_back(RuleFrom(rules.Get(i).As<Napi::Object>()));
  state.argument.count = state.rules.size();
  state.argument.action = Uint32Of(rest, "action");
  state.argument.argument = Uint32Of(rest, "argument");
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), std::move(state),
      [](const Device& device, Rules& set) {
        set.argument.rules = reinterpret_cast<uintptr_t>(set.rules.data());
        device.Ctl(BLKFILTER_GUARD_NAME, BLKFILTER_GUARD_SET_RULES, set.argument, "BLKFILTER_GUARD_SET_RULES");
      },
      [](Napi::Env env, const Rules&) { return Undefined(env); });
}

Napi::Value GetRules(const Napi::CallbackInfo& call) {
  return RunOn(
      call.Env(), Handle::DeviceOf(call[0]), Rules(),
      [](const Device& device, Rules& set) {
        set.rules.resize(BLKFILTER_GUARD_RULES_MAX);
        set.counters.resize(BLKFILTER_GUARD_RULES_MAX + 1);
        set.argument.rules = reinterpret_cast<uintptr_t>(set.rules.data());
        set.argument.counters = reinterpret_cast<uintptr_t>(set.counters.data());
        set.argument.count = set.rules.size();
        device.Ctl(BLKFILTER_GUARD_NAME, BLKFILTER_GUARD_GET_RULES, set.argument, "BLKFILTER_GUARD_GET_RULES");
      },
      [](Napi::Env env, const Rules& set) {
        const uint32_t count = set.argument.count;
        Napi::Array rules = Napi::Array::New(env, count);
        for (uint32_t i = 0; i < count; i++) rules[i] = ObjectFrom(env, set.rules[i], set.counters[i]);
        Napi::Object rest = Napi::Object::New(env);
        rest["action"] = Napi::Number::New(env, set.argument.action);
        rest["argument"] = Napi::Number::New(env, set.argument.argument);
        rest["applied"] = NumberFrom(env, set.counters[count]);
        Napi::Object result = Napi::Object::New(env);
        result["rules"] = rules;
        result["default"] = rest;
        result["held"] = Napi::Number::New(env, set.argument.held);
        return result;
      });
}

struct Named {
  const char* name;
  uint32_t number;
};

template <size_t Count>
Napi::Object TableFrom(Napi::Env env, const Named (&entries)[Count]) {
  Napi::Object table = Napi::Object::New(env);
  for (const Named& entry : entries) table[entry.name] = Napi::Number::New(env, entry.number);
  return table;
}

constexpr Named kOperations[] = {
    {"read", BLKFILTER_GUARD_READ},
    {"write", BLKFILTER_GUARD_WRITE},
    {"flush", BLKFILTER_GUARD_FLUSH},
    {"discard", BLKFILTER_GUARD_DISCARD},
    {"secure-erase", BLKFILTER_GUARD_SECURE_ERASE},
    {"write-zeroes", BLKFILTER_GUARD_WRITE_ZEROES},
    {"zone-append", BLKFILTER_GUARD_ZONE_APPEND},
    {"zone-open", BLKFILTER_GUARD_ZONE_OPEN},
    {"zone-close", BLKFILTER_GUARD_ZONE_CLOSE},
    {"zone-finish", BLKFILTER_GUARD_ZONE_FINISH},
    {"zone-reset", BLKFILTER_GUARD_ZONE_RESET},
    {"other", BLKFILTER_GUARD_OTHER},
    {"change", BLKFILTER_GUARD_CHANGE},
};

constexpr Named kActions[] = {
    {"pass", BLKFILTER_GUARD_PASS},
    {"deny", BLKFILTER_GUARD_DENY},
    {"delay", BLKFILTER_GUARD_DELAY},
};

// What every kernel's block layer can carry. Newer ones know a few more.
constexpr Named kErrors[] = {
    {"EIO", EIO},
    {"ENOSPC", ENOSPC},
    {"ENODATA", ENODATA},
    {"EILSEQ", EILSEQ},
    {"EREMOTEIO", EREMOTEIO},
    {"ENOLINK", ENOLINK},
    {"ETIMEDOUT", ETIMEDOUT},
    {"EBADE", EBADE},
    {"EBUSY", EBUSY},
    {"ENODEV", ENODEV},
    {"ENOMEM", ENOMEM},
    {"EOPNOTSUPP", EOPNOTSUPP},
    {"EOVERFLOW", EOVERFLOW},
    {"ETOOMANYREFS", ETOOMANYREFS},
};

}  // namespace

Napi::Object GuardExports(Napi::Env env) {
  Napi::Object exports = Napi::Object::New(env);
  exports["rulesMax"] = Napi::Number::New(env, BLKFILTER_GUARD_RULES_MAX);
  exports["delayMax"] = Napi::Number::New(env, BLKFILTER_GUARD_DELAY_MAX);
  exports["always"] = Napi::Number::New(env, BLKFILTER_GUARD_ALWAYS);
  exports["allOperations"] = Napi::Number::New(env, BLKFILTER_GUARD_OPERATIONS);
  exports["operations"] = TableFrom(env, kOperations);
  exports["actions"] = TableFrom(env, kActions);
  exports["errors"] = TableFrom(env, kErrors);
  exports["setRules"] = Napi::Function::New<SetRules>(env, "setRules");
  exports["getRules"] = Napi::Function::New<GetRules>(env, "getRules");
  return exports;
}
