// What a test does for itself while it makes allocations of the engine fail (tests/nth): that memory is there.
#pragma once

namespace firn::test {

// While one lives, its thread's allocations are not the engine's. Costs nothing where nobody asks.
class Uncounted {
 public:
  Uncounted() { ++depth_; }
  ~Uncounted() { --depth_; }
  Uncounted(const Uncounted&) = delete;

  static bool Here() { return depth_ != 0; }

 private:
  friend class Counted;
  static inline thread_local int depth_ = 0;
};

// A call into the engine from a stretch that is not counted.
class Counted {
 public:
  Counted() : depth_(Uncounted::depth_) { Uncounted::depth_ = 0; }
  ~Counted() { Uncounted::depth_ = depth_; }
  Counted(const Counted&) = delete;

 private:
  const int depth_;
};

}  // namespace firn::test
