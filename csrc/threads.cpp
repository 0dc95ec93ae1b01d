#include "threads.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "loop.hpp"

namespace poolkit {
namespace {

constexpr int most_threads = 256;

int from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  // OMP_NUM_THREADS may be a list, one entry a nesting level: the first one counts.
  const bool whole = end != text && (*end == '\0' || *end == ',');
  return whole && value >= 1 ? int(std::min<long>(value, most_threads)) : 0;
}

int usable_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, int(std::thread::hardware_concurrency()));
}

int default_threads() {
  if (const int n = from_environment("POOLKIT_NUM_THREADS")) return n;
  if (const int n = from_environment("OMP_NUM_THREADS")) return n;
  return std::min(usable_cpus(), most_threads);
}

thread_local bool inside_loop = false;

class Pool {
 public:
  explicit Pool(int threads) {
    workers_.reserve(std::size_t(threads - 1));
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      // The system gives no more threads: the ones that started do the work.
    }
  }

  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(Loop& loop) {
    {
      const std::lock_guard lock(mutex_);
      loop_ = &loop;
      ++round_;
    }
    wake_.notify_all();
    loop.work();
    std::unique_lock lock(mutex_);
    loop_ = nullptr;  // late wakers find nothing to join
    done_.wait(lock, [&] { return joined_ == 0; });
  }

 private:
  void serve() {
    inside_loop = true;
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stop_ || (loop_ != nullptr && round_ != seen); });
      if (stop_) return;
      seen = round_;
      Loop* loop = loop_;
      ++joined_;
      lock.unlock();
      loop->work();
      lock.lock();
      if (--joined_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Loop* loop_ = nullptr;
  std::uint64_t round_ = 0;
  int joined_ = 0;
  bool stop_ = false;
};

struct Shared {
  std::mutex owner;      // held by whoever runs a loop on the pool, or replaces it
  Pool* pool = nullptr;  // never destroyed at exit: its threads may outlive static destructors
  int pool_threads = 0;
};

std::atomic<int> wanted{0};  // 0: not decided yet

Shared& shared() {
  alignas(Shared) static unsigned char storage[sizeof(Shared)];
  static Shared* const made = [] {
    Shared* s = new (storage) Shared;
    // The child of a fork has none of the pool's threads, and its locks may be held by threads that are gone: forget
    // both. The old pool leaks on purpose.
    pthread_atfork(nullptr, nullptr, [] {
      new (storage) Shared;
      inside_loop = false;
    });
    return s;
  }();
  return *made;
}

void run_shared(void*, i64 n, i64 grain, Body body, void* env) {
  grain = std::max<i64>(grain, 1);
  const int threads = get_num_threads();
  // With less than two pieces of that size, waking a thread takes as long as what it would take over.
  if (n < 2 * grain || threads == 1 || inside_loop) return body(env, 0, n);
  Shared& s = shared();
  const std::unique_lock owner(s.owner, std::try_to_lock);
  if (!owner) return body(env, 0, n);
  if (s.pool == nullptr || s.pool_threads != threads) {
    delete s.pool;
    s.pool = nullptr;
    s.pool = new Pool(threads);
    s.pool_threads = threads;
  }
  Loop loop{body, env, n, piece_of(n, grain, threads), {}, {}, {}};
  inside_loop = true;
  s.pool->run(loop);
  inside_loop = false;
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace

Exec own_threads() { return {run_shared, nullptr}; }

void set_num_threads(int n) { wanted.store(n < 1 ? default_threads() : std::min(n, most_threads)); }

int get_num_threads() {
  int n = wanted.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_threads();
    wanted.store(n);
  }
  return n;
}

}  // namespace poolkit
