#include "libsplice/ops/task_queue.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace splice {

SystemResult<std::unique_ptr<TaskQueue>> TaskQueue::open() {
    Descriptor wakeup(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!wakeup) return system_error("open an eventfd", errno);
    return std::unique_ptr<TaskQueue>(new TaskQueue(std::move(wakeup)));
}

void TaskQueue::post(std::string name, Work work) {
    const std::scoped_lock lock(mutex_);
    if (std::ranges::find(tasks_, name, &Task::name) != tasks_.end()) return;
    tasks_.push_back({std::move(name), std::move(work)});
    // It fails only when the counter is full, and then the descriptor is readable anyway.
    constexpr std::uint64_t kOne = 1;
    (void)!::write(wakeup_.get(), &kOne, sizeof(kOne));
}

void TaskQueue::run() {
    std::vector<Task> due;
    {
        const std::scoped_lock lock(mutex_);
        std::uint64_t count = 0;
        (void)!::read(wakeup_.get(), &count, sizeof(count));
        due.swap(tasks_);
    }
    for (const Task& task : due) task.work();
}

}  // namespace splice
