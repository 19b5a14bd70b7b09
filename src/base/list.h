// A first-in first-out list through a `next` pointer that its elements already carry: nothing is
// allocated, and an element is on at most one list.
#pragma once

#include <utility>

#include "base/assert.h"

namespace ringloop {

template <typename T, T* T::* next>
class Fifo {
public:
    bool empty() const { return head_ == nullptr; }
    T* front() const { return head_; }

    void push(T& element) {
        ASSERT(element.*next == nullptr && &element != tail_);
        (tail_ ? tail_->*next : head_) = &element;
        tail_ = &element;
    }

    // For an element that was taken and could not be served yet.
    void push_front(T& element) {
        ASSERT(element.*next == nullptr && &element != tail_);
        element.*next = head_;
        head_ = &element;
        if (!tail_) tail_ = &element;
    }

    T* pop() {
        T* element = head_;
        if (!element) return nullptr;
        head_ = std::exchange(element->*next, nullptr);
        if (!head_) tail_ = nullptr;
        return element;
    }

    Fifo take() { return std::exchange(*this, Fifo{}); }

private:
    T* head_ = nullptr;
    T* tail_ = nullptr;
};

}  // namespace ringloop
