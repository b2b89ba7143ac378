// SPDX-License-Identifier: MIT
#ifndef BLKFILTER_GUARD_H
#define BLKFILTER_GUARD_H

#include <napi.h>

// The commands of the guard filter, each taking a device handle first, and its constants.
Napi::Object GuardExports(Napi::Env env);

#endif  // BLKFILTER_GUARD_H
