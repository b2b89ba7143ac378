# SPDX-License-Identifier: MIT
{
  "targets": [{
    "target_name": "blkfilter",
    "sources": [
      "native/addon.cc", "native/device.cc", "native/poll.cc", "native/uevent.cc",
      "native/cbt.cc", "native/trace.cc", "native/guard.cc"
    ],
    "include_dirs": [
      "<!(node -p \"require('node-addon-api').include_dir\")",
      "kernel/include/uapi"
    ],
    "defines": [
      "NAPI_VERSION=8",
      "NAPI_CPP_EXCEPTIONS",
      # A worker thread can be terminated while a call is being made; throwing then must not end the process.
      "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
    ],
    "cflags": ["-Wall", "-Wextra"],
    "cflags!": ["-fno-exceptions"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
    "cflags_cc": ["-std=c++17", "-fexceptions"]
  }]
}
