#include "libsplice/ops/task_queue.hpp"

#include <doctest/doctest.h>
#include <poll.h>

#include <thread>

using namespace splice;

namespace {

std::unique_ptr<TaskQueue> open_queue() {
    auto queue = TaskQueue::open();
    REQUIRE(queue.has_value());
    return std::move(*queue);
}

bool is_readable(const TaskQueue& queue) {
    pollfd wait{queue.descriptor(), POLLIN, 0};
    return poll(&wait, 1, 0) == 1;
}

}  // namespace

TEST_CASE("tasks are done in the order in which they were posted") {
    const auto queue = open_queue();
    CHECK_FALSE(is_readable(*queue));
    std::string diary;
    for (const char* name : {"a", "b", "c"}) queue->post(name, [&diary, name] { diary += name; });
    CHECK(is_readable(*queue));
    CHECK(diary.empty());
    queue->run();
    CHECK(diary == "abc");
    CHECK_FALSE(is_readable(*queue));
    queue->run();
    CHECK(diary == "abc");
}

TEST_CASE("of tasks that would do the same one waits; once it is done the next can be posted") {
    const auto queue = open_queue();
    int done = 0;
    for (int i = 0; i < 3; i++) queue->post("reload", [&done] { done++; });
    queue->run();
    CHECK(done == 1);
    queue->post("reload", [&done] { done++; });
    queue->run();
    CHECK(done == 2);
}

TEST_CASE("what a task posts waits for the next turn, also under its own name") {
    const auto queue = open_queue();
    int done = 0;
    queue->post("check", [&] {
        done++;
        queue->post("check", [&done] { done += 10; });
    });
    queue->run();
    CHECK(done == 1);
    CHECK(is_readable(*queue));
    queue->run();
    CHECK(done == 11);
}

TEST_CASE("other threads post while the main thread works; nothing is lost or done twice") {
    const auto queue = open_queue();
    constexpr int kThreads = 4, kTasks = 1000;
    int done = 0;
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; thread++) {
        threads.emplace_back([&, thread] {
            for (int i = 0; i < kTasks; i++)
                queue->post(std::to_string(thread) + "." + std::to_string(i), [&done] { done++; });
        });
    }
    while (done < kThreads * kTasks) {
        pollfd wait{queue->descriptor(), POLLIN, 0};
        REQUIRE(poll(&wait, 1, 10'000) == 1);
        queue->run();
    }
    threads.clear();
    queue->run();
    CHECK(done == kThreads * kTasks);
}
