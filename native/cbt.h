// SPDX-License-Identifier: MIT
#ifndef BLKFILTER_CBT_H
#define BLKFILTER_CBT_H

#include <napi.h>

// The commands of the cbt filter, each taking a device handle first, and its constants.
Napi::Object CbtExports(Napi::Env env);

#endif  // BLKFILTER_CBT_H
