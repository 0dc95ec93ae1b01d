// The thread pool of the NumPy front end. Frameworks bring their own threads; this one is for callers that have none.
#pragma once

#include "core.hpp"

namespace poolkit {

// Runs on the process-wide pool, whose threads start with the first loop worth sharing. Safe to call from any thread:
// a loop that finds the pool busy, or that starts inside another loop, runs inline. After fork() the child starts anew.
Exec own_threads();

// n < 1 restores the default: POOLKIT_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use.
void set_num_threads(int n);
int get_num_threads();

}  // namespace poolkit
