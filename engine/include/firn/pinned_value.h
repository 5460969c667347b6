// A value that is read without being copied: DB::GetPinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace firn {

class Store;

// Holds a value where it is in the value cache, or in memory of its own if it was not there, or is so small that a copy
// costs less than holding it. Movable. One thread at a time; several may read value() at once. It may outlive the DB.
// What it holds in the cache is not given to other values meanwhile: 256 KiB around it, or the value itself if that is
// 64 KiB or more.
class PinnedValue {
 public:
  // Values up to this size are copied, into the object.
  static constexpr size_t kSmallBytesMax = 128;

  PinnedValue() = default;
  PinnedValue(PinnedValue&& other) noexcept { Take(other); }
  PinnedValue& operator=(PinnedValue&& other) noexcept {
    if (this == &other) return *this;
    Release();
    Take(other);
    return *this;
  }
  ~PinnedValue() {
    if (frame_ != nullptr) Release();
  }

  // Valid until this is moved, assigned to or destroyed.
  std::string_view value() const {
    if (place_ == Place::kSmall) return {small_, small_size_};
    return place_ == Place::kFrame ? in_frame_ : std::string_view(own_);
  }
  // Whether it was found in the cache.
  bool is_cached() const { return is_cached_; }

 private:
  friend class Store;
  enum class Place : uint8_t { kSmall, kFrame, kOwn };

  void Take(PinnedValue& other) noexcept {
    place_ = other.place_;
    is_cached_ = other.is_cached_;
    small_size_ = other.small_size_;
    frame_ = std::exchange(other.frame_, nullptr);
    in_frame_ = other.in_frame_;
    own_.swap(other.own_);
    if (place_ == Place::kSmall) std::memcpy(small_, other.small_, small_size_);
    other.SetEmpty();
  }
  void SetEmpty() {
    place_ = Place::kSmall;
    small_size_ = 0;
    is_cached_ = false;
  }
  // Now empty, and nothing is held.
  void Release() noexcept;
  void Copy(std::string_view bytes) {
    if (bytes.size() <= kSmallBytesMax) {
      place_ = Place::kSmall;
      small_size_ = static_cast<uint8_t>(bytes.size());
      std::memcpy(small_, bytes.data(), bytes.size());
    } else {
      own_.assign(bytes);
      place_ = Place::kOwn;
    }
  }
  std::string TakeString() && { return place_ == Place::kOwn ? std::move(own_) : std::string(value()); }

  Place place_ = Place::kSmall;
  bool is_cached_ = false;
  uint8_t small_size_ = 0;
  void* frame_ = nullptr;
  std::string_view in_frame_;
  std::string own_;
  char small_[kSmallBytesMax];
};

}  // namespace firn
