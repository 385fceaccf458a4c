#include "tests/tools/cache/reference.hpp"

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <utility>
#include <vector>

namespace splice::cache::reference {
namespace {

struct Entry {
    std::uint64_t object;
    std::uint64_t bytes;
    int frequency = 0;
};

// Front: the newest.
class Queue {
  public:
    using Place = std::list<Entry>::iterator;

    [[nodiscard]] bool has(std::uint64_t object) const { return places_.contains(object); }
    [[nodiscard]] Entry& at(std::uint64_t object) { return *places_.at(object); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] bool empty() const { return entries_.empty(); }
    [[nodiscard]] const Entry& last() const { return entries_.back(); }
    [[nodiscard]] std::list<Entry>& entries() { return entries_; }
    void put(const Entry& entry) {
        entries_.push_front(entry);
        places_[entry.object] = entries_.begin();
        bytes_ += entry.bytes;
    }
    Entry take(std::uint64_t object) {
        const auto place = places_.at(object);
        const Entry entry = *place;
        entries_.erase(place);
        places_.erase(object);
        bytes_ -= entry.bytes;
        return entry;
    }
    Entry take_last() { return take(entries_.back().object); }

  private:
    std::list<Entry> entries_;
    std::map<std::uint64_t, Place> places_;
    std::uint64_t bytes_ = 0;
};

struct OneQueue : PlainCache {
    explicit OneQueue(std::uint64_t most) : capacity(most) {}
    bool access(std::uint64_t object, std::uint64_t bytes) override {
        if (queue.has(object)) {
            hit(object);
            return true;
        }
        if (bytes > capacity) return false;
        while (queue.bytes() + bytes > capacity) evict();
        queue.put({object, bytes});
        return false;
    }
    [[nodiscard]] std::uint64_t bytes() const override { return queue.bytes(); }
    virtual void hit(std::uint64_t object) = 0;
    virtual void evict() = 0;
    const std::uint64_t capacity;
    Queue queue;
};

struct Lru : OneQueue {
    using OneQueue::OneQueue;
    void hit(std::uint64_t object) override { queue.put(queue.take(object)); }
    void evict() override { queue.take_last(); }
};

struct Fifo : OneQueue {
    using OneQueue::OneQueue;
    void hit(std::uint64_t) override {}
    void evict() override { queue.take_last(); }
};

// The ring itself: a hand walks over slots, and a new object takes the slot just behind the hand.
struct Clock : PlainCache {
    explicit Clock(std::uint64_t most) : capacity(most) {}
    bool access(std::uint64_t object, std::uint64_t bytes) override {
        if (const auto found = places.find(object); found != places.end()) {
            found->second->frequency = 1;
            return true;
        }
        if (bytes > capacity) return false;
        while (used + bytes > capacity) {
            if (hand == ring.end()) hand = ring.begin();
            if (hand->frequency == 1) {
                hand->frequency = 0;
                ++hand;
                continue;
            }
            used -= hand->bytes;
            places.erase(hand->object);
            hand = ring.erase(hand);
        }
        places[object] = ring.insert(hand, Entry{object, bytes});
        used += bytes;
        return false;
    }
    [[nodiscard]] std::uint64_t bytes() const override { return used; }
    const std::uint64_t capacity;
    std::list<Entry> ring;
    std::list<Entry>::iterator hand = ring.end();
    std::map<std::uint64_t, std::list<Entry>::iterator> places;
    std::uint64_t used = 0;
};

// The paper's algorithm 1: hand goes from the tail to the head; front is the head.
struct Sieve : PlainCache {
    explicit Sieve(std::uint64_t most) : capacity(most) {}
    bool access(std::uint64_t object, std::uint64_t bytes) override {
        if (const auto found = places.find(object); found != places.end()) {
            found->second->frequency = 1;
            return true;
        }
        if (bytes > capacity) return false;
        while (used + bytes > capacity) {
            // A hand at end() is the paper's NIL.
            auto candidate = hand == queue.end() ? std::prev(queue.end()) : hand;
            while (candidate->frequency == 1) {
                candidate->frequency = 0;
                candidate = candidate == queue.begin() ? std::prev(queue.end()) : std::prev(candidate);
            }
            hand = candidate == queue.begin() ? queue.end() : std::prev(candidate);
            used -= candidate->bytes;
            places.erase(candidate->object);
            queue.erase(candidate);
        }
        queue.push_front({object, bytes});
        places[object] = queue.begin();
        used += bytes;
        return false;
    }
    [[nodiscard]] std::uint64_t bytes() const override { return used; }
    const std::uint64_t capacity;
    std::list<Entry> queue;
    std::list<Entry>::iterator hand = queue.end();
    std::map<std::uint64_t, std::list<Entry>::iterator> places;
    std::uint64_t used = 0;
};

// The paper's algorithm 1, with bytes for its counts of objects.
struct S3Fifo : PlainCache {
    explicit S3Fifo(std::uint64_t most) : capacity(most), main_capacity(most - most / 10) {}
    bool access(std::uint64_t object, std::uint64_t bytes) override {
        for (Queue* queue : {&small, &main}) {
            if (!queue->has(object)) continue;
            queue->at(object).frequency = std::min(queue->at(object).frequency + 1, 3);
            return true;
        }
        if (bytes > capacity) return false;
        const bool was_ghost = ghost.has(object);
        if (was_ghost) ghost.take(object);
        while (small.bytes() + main.bytes() + bytes > capacity) evict();
        (was_ghost ? main : small).put({object, bytes});
        return false;
    }
    void evict() {
        if (main.bytes() > main_capacity || small.empty()) {
            for (;;) {
                Entry tail = main.take_last();
                if (tail.frequency == 0) return;
                --tail.frequency;
                main.put(tail);
            }
        }
        while (!small.empty()) {
            Entry tail = small.take_last();
            if (tail.frequency > 1) {
                tail.frequency = 0;
                main.put(tail);
                continue;
            }
            if (tail.bytes <= main_capacity) {
                while (ghost.bytes() + tail.bytes > main_capacity) ghost.take_last();
                ghost.put({tail.object, tail.bytes});
            }
            return;
        }
    }
    [[nodiscard]] std::uint64_t bytes() const override { return small.bytes() + main.bytes(); }
    const std::uint64_t capacity;
    const std::uint64_t main_capacity;
    Queue small;
    Queue main;
    Queue ghost;
};

// Count-min with a byte a counter: row, block, place in the block.
class Sketch {
  public:
    void add(std::uint64_t object) {
        const std::uint64_t hash = hash_of(object);
        for (int row = 0; row < 4; ++row) {
            int& counter = at(hash, row);
            counter = std::min(counter + 1, 15);
        }
        if (++additions_ == 80 * blocks_) {
            for (auto& row : rows_) {
                for (int& counter : row) counter /= 2;
            }
            additions_ /= 2;
        }
    }
    int count(std::uint64_t object) {
        const std::uint64_t hash = hash_of(object);
        return std::min({at(hash, 0), at(hash, 1), at(hash, 2), at(hash, 3)});
    }
    void hold(std::uint64_t objects) {
        while (8 * blocks_ < objects) {
            for (auto& row : rows_) {
                const auto copy = row;
                row.insert(row.end(), copy.begin(), copy.end());
            }
            blocks_ *= 2;
        }
    }

  private:
    int& at(std::uint64_t hash, int row) {
        const std::uint64_t place = (hash >> (40 + 5 * row)) % 32;
        return rows_[static_cast<std::size_t>(row)][hash % blocks_ * 32 + place];
    }
    std::uint64_t blocks_ = 1;
    std::uint64_t additions_ = 0;
    std::array<std::vector<int>, 4> rows_{std::vector<int>(32), std::vector<int>(32), std::vector<int>(32),
                                          std::vector<int>(32)};
};

struct WTinyLfu : PlainCache {
    explicit WTinyLfu(std::uint64_t most)
        : capacity(most),
          window_capacity(most / 100),
          main_capacity(most - window_capacity),
          protected_capacity(main_capacity - main_capacity / 5) {}
    bool access(std::uint64_t object, std::uint64_t bytes) override {
        if (window.has(object)) {
            sketch.add(object);
            window.put(window.take(object));
            return true;
        }
        if (protected_.has(object)) {
            sketch.add(object);
            protected_.put(protected_.take(object));
            return true;
        }
        if (probation.has(object)) {
            sketch.add(object);
            protected_.put(probation.take(object));
            while (protected_.bytes() > protected_capacity) probation.put(protected_.take_last());
            return true;
        }
        if (bytes > capacity) return false;
        sketch.add(object);
        window.put({object, bytes});
        while (window.bytes() > window_capacity) {
            const Entry candidate = window.take_last();
            if (admits(candidate)) probation.put(candidate);
        }
        sketch.hold(held());
        return false;
    }
    bool admits(const Entry& candidate) {
        if (candidate.bytes > main_capacity) return false;
        std::uint64_t left = probation.bytes() + protected_.bytes();
        std::vector<Entry> victims;
        int worth = 0;
        for (Queue* queue : {&probation, &protected_}) {
            for (auto next = queue->entries().rbegin(); next != queue->entries().rend(); ++next) {
                if (left + candidate.bytes <= main_capacity) break;
                victims.push_back(*next);
                worth += sketch.count(next->object);
                left -= next->bytes;
            }
        }
        if (!victims.empty() && sketch.count(candidate.object) <= worth) return false;
        for (const Entry& victim : victims) {
            (probation.has(victim.object) ? probation : protected_).take(victim.object);
        }
        return true;
    }
    [[nodiscard]] std::uint64_t held() {
        return window.entries().size() + probation.entries().size() + protected_.entries().size();
    }
    [[nodiscard]] std::uint64_t bytes() const override {
        return window.bytes() + probation.bytes() + protected_.bytes();
    }
    const std::uint64_t capacity;
    const std::uint64_t window_capacity;
    const std::uint64_t main_capacity;
    const std::uint64_t protected_capacity;
    Queue window;
    Queue probation;
    Queue protected_;
    Sketch sketch;
};

}  // namespace

std::unique_ptr<PlainCache> make(Policy policy, std::uint64_t capacity) {
    switch (policy) {
        case Policy::lru:
            return std::make_unique<Lru>(capacity);
        case Policy::fifo:
            return std::make_unique<Fifo>(capacity);
        case Policy::clock:
            return std::make_unique<Clock>(capacity);
        case Policy::sieve:
            return std::make_unique<Sieve>(capacity);
        case Policy::s3_fifo:
            return std::make_unique<S3Fifo>(capacity);
        case Policy::w_tinylfu:
            return std::make_unique<WTinyLfu>(capacity);
    }
    std::unreachable();
}

}  // namespace splice::cache::reference
