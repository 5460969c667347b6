// A value that is read without being copied: DB::GetPinned.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace firn {

class Store;

// Holds a value where it is: in the value cache, if it was there, else in memory of its own. Movable. One thread at a
// time; several may read value() at once. It may outlive the DB. What it holds in the cache is not given to other
// values meanwhile: 256 KiB around it, or the value itself if that is 64 KiB or more.
class PinnedValue {
 public:
  PinnedValue() = default;
  PinnedValue(PinnedValue&& other) noexcept { *this = std::move(other); }
  PinnedValue& operator=(PinnedValue&& other) noexcept {
    std::swap(frame_, other.frame_);
    std::swap(in_frame_, other.in_frame_);
    own_.swap(other.own_);
    return *this;
  }
  ~PinnedValue() { Release(); }

  // Valid until this is moved from, assigned to or destroyed.
  std::string_view value() const { return frame_ != nullptr ? in_frame_ : std::string_view(own_); }
  // Whether it was found in the cache.
  bool is_cached() const { return frame_ != nullptr; }

 private:
  friend class Store;
  // Now empty, and nothing is held.
  void Release() noexcept;

  void* frame_ = nullptr;
  std::string_view in_frame_;
  std::string own_;
};

}  // namespace firn
