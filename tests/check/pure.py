#!/usr/bin/env python3
"""No system call is reachable from base, wire and core: what their archives leave undefined is the language's
runtime, plain functions of libc, and the libraries that they stand on.

usage: pure.py ARCHIVE...
"""
import re
import subprocess
import sys

# Functions of libc that only compute. Anything else that is not C++'s own or ours is a defect.
COMPUTES = {
    "memcpy", "memmove", "memset", "memcmp", "memchr", "strlen", "strcmp", "inet_pton", "inet_ntop", "abort",
    "__assert_fail", "__stack_chk_fail", "crc32", "XXH64", "__memcpy_chk", "__memset_chk", "__memmove_chk",
    "__tls_get_addr", "_GLOBAL_OFFSET_TABLE_", "__dso_handle", "__cxa_atexit", "bcmp", "strtoul", "strtol",
    "__udivti3", "__dynamic_cast", "strncpy", "strerror_r",
    # Boost's error categories and std::shared_ptr: locks of their own that nobody waits for.
    "pthread_mutex_lock", "pthread_mutex_unlock", "__libc_single_threaded",
    "__errno_location", "log2", "log", "pow", "exp", "lround", "__popcountdi2", "__isoc99_sscanf", "snprintf",
    "__snprintf_chk", "tolower", "strchr",
}
# ... and by pattern: C++ mangled names of the standard library and of ours, its ABI, unwinding, sanitizers.
RUNTIME = re.compile(r"^(_ZN?K?S|_ZT[ISV]|_ZN?K?6splice|_Zn|_Zd|__cxa_|__gxx_|_Unwind_|__asan|__ubsan|__tsan|_ZN5boost|"
                     r"_ZNK5boost|_ZN3fmt|__once|DW\.ref|_ZGV|__sanitizer)")
# In the standard library: what reads a clock, sleeps, starts a thread or opens a file.
ASKS = re.compile(r"chrono.*clock|this_thread|_ZNSt6thread|random_device|filesystem|basic_[io]?fstream|basic_filebuf|"
                  r"_ZSt4cout|_ZSt4cerr|ios_base4Init")


def undefined(archive: str) -> set[str]:
    out = subprocess.run(["nm", "--undefined-only", "--format=posix", archive], capture_output=True, text=True,
                         check=True).stdout
    return {line.split()[0] for line in out.splitlines() if line and not line.endswith(":")}


def main() -> int:
    defects = 0
    for archive in sys.argv[1:]:
        for symbol in sorted(undefined(archive)):
            known = symbol in COMPUTES or RUNTIME.match(symbol)
            if not known or ASKS.search(symbol):
                print(f"{archive}: {symbol}")
                defects += 1
    print(f"system calls: {len(sys.argv) - 1} archives, {defects} symbols that may ask the system")
    return 1 if defects or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
