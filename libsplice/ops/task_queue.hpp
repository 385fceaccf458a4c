// What is to be done on the main thread, which alone changes what a daemon works by and what it set up on the
// host: any thread posts, the main thread does one task after the other, in the order in which they were
// posted. So two changes never meet, wherever they come from: a file, a signal, the API, health.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

class TaskQueue {
  public:
    using Work = std::function<void()>;

    static SystemResult<std::unique_ptr<TaskQueue>> open();
    TaskQueue(const TaskQueue&) = delete;
    TaskQueue& operator=(const TaskQueue&) = delete;

    // Any thread. While a task of that name waits, another one is not added: it would do the same again. The
    // bound of the queue is therefore the number of names.
    void post(std::string name, Work work);

    // Readable while a task waits.
    [[nodiscard]] int descriptor() const noexcept { return wakeup_.get(); }
    // The main thread: does the tasks that wait. One that is posted meanwhile, by a task or another thread,
    // waits for the next call, so that other events get their turn.
    void run();

  private:
    explicit TaskQueue(Descriptor wakeup) noexcept : wakeup_(std::move(wakeup)) {}
    struct Task {
        std::string name;
        Work work;
    };
    Descriptor wakeup_;  // an eventfd
    std::mutex mutex_;
    std::vector<Task> tasks_;
};

}  // namespace splice
