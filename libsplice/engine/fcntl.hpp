// <fcntl.h> for sources that need it, or whose libraries include it: the system call splice(2), which it
// declares, has our namespace's name, so it is renamed here. Included before everything else.
#pragma once

#define splice splice_system_call
#include <fcntl.h>
#undef splice
