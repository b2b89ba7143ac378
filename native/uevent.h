// SPDX-License-Identifier: MIT
#ifndef BLKFILTER_UEVENT_H
#define BLKFILTER_UEVENT_H

#include <napi.h>

// Listening to the kernel's uevents: open, receive and decode.
Napi::Object UeventExports(Napi::Env env);

#endif  // BLKFILTER_UEVENT_H
