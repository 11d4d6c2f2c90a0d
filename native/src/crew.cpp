#include "crew.h"

#include <algorithm>
#include <chrono>
#include <exception>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace verydeep {

namespace {

// How long a thread waits awake: a few times what the caller needs between two steps of a layer.
constexpr std::chrono::microseconds kAwake(50);

void pause_briefly() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template <class Condition>
bool spin_until(Condition&& is_met) {
    const auto end = std::chrono::steady_clock::now() + kAwake;
    do {
        for (int i = 0; i < 32; ++i) {
            if (is_met()) return true;
            pause_briefly();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

}  // namespace

Crew::Crew(int threads) {
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    try {
        for (int member = 1; member < threads; ++member)
            workers_.emplace_back([this, member] { wait_for_work(member); });
    } catch (const std::exception&) {  // the system gives no more: those that it gave do the work
    }
}

Crew::~Crew() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        is_over_ = true;
        round_.fetch_add(1);
    }
    given_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void Crew::run(std::int64_t parts, const std::function<void(std::int64_t, int)>& work) {
    if (workers_.empty() || parts <= 1) {
        for (std::int64_t part = 0; part < parts; ++part) work(part, 0);
        return;
    }
    work_ = &work;
    parts_ = parts;
    next_part_ = 0;
    busy_ = static_cast<int>(workers_.size());
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        round_.fetch_add(1);
    }
    given_.notify_all();
    take_parts(0);
    const auto all_done = [this] { return busy_.load() == 0; };
    if (spin_until(all_done)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, all_done);
}

void Crew::run_steps(const std::vector<Step>& steps, const std::function<void(int, std::int64_t, int)>& work) {
    std::vector<std::int64_t> ends;  // of the steps' parts among all parts
    std::vector<std::atomic<std::int64_t>> left(steps.size());
    std::int64_t all = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        left[i] = steps[i].parts;
        ends.push_back(all += steps[i].parts);
    }
    run(all, [&](std::int64_t part, int member) {
        const auto step = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), part) - ends.begin());
        const int after = steps[step].after;
        const auto is_ready = [&] { return after < 0 || left[static_cast<std::size_t>(after)].load() == 0; };
        while (!spin_until(is_ready)) std::this_thread::yield();
        work(static_cast<int>(step), part - (ends[step] - steps[step].parts), member);
        left[step].fetch_sub(1);
    });
}

void Crew::wait_for_work(int member) {
    std::uint32_t seen = 0;
    for (;;) {
        const auto is_given = [&] { return round_.load() != seen; };
        if (!spin_until(is_given)) {
            std::unique_lock<std::mutex> lock(mutex_);
            given_.wait(lock, is_given);
        }
        ++seen;
        if (is_over_) return;
        take_parts(member);
        if (busy_.fetch_sub(1) == 1) {
            {
                const std::lock_guard<std::mutex> lock(mutex_);
            }
            finished_.notify_one();
        }
    }
}

void Crew::take_parts(int member) {
    for (std::int64_t part = next_part_.fetch_add(1); part < parts_; part = next_part_.fetch_add(1))
        (*work_)(part, member);
}

}  // namespace verydeep
