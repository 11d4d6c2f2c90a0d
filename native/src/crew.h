// Threads that work together on one thing at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace verydeep {

// Some parts of a piece of work. They begin when all parts of the step `after`, an earlier one, are done; -1: at once.
struct Step {
    std::int64_t parts;
    int after;
};

// The thread that calls `run` and threads - 1 of its own, which wait between two calls: awake for a moment, as the next
// layer follows in microseconds, then asleep. One run at a time.
class Crew {
public:
    explicit Crew(int threads);  // fewer where the system does not give so many
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    int size() const { return static_cast<int>(workers_.size()) + 1; }

    // work(part, member) for each part from 0 to parts - 1, each by whichever member of the crew is free; returns when
    // all are done. `work` must not throw.
    void run(std::int64_t parts, const std::function<void(std::int64_t part, int member)>& work);

    // work(step, part, member) for each part of each step, handed out in their order. Whoever has none left of a step
    // goes on with the next one, so that all wait for a member that the system has stopped only at the end.
    void run_steps(const std::vector<Step>& steps,
                   const std::function<void(int step, std::int64_t part, int member)>& work);

private:
    void wait_for_work(int member);
    void take_parts(int member);

    std::vector<std::thread> workers_;
    const std::function<void(std::int64_t, int)>* work_ = nullptr;
    std::int64_t parts_ = 0;
    std::atomic<std::int64_t> next_part_{0};
    std::atomic<std::uint32_t> round_{0};  // of work given out
    std::atomic<int> busy_{0};             // workers that have not finished the round
    std::atomic<bool> is_over_{false};
    std::mutex mutex_;  // of the two below
    std::condition_variable given_, finished_;
};

}  // namespace verydeep
