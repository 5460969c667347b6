// Tells ThreadSanitizer what a lock does. abseil comes as a library that is not built with it, so without
// these calls every field behind an absl::Mutex would look like a race. Empty in all other builds.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define FIRN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIRN_TSAN 1
#endif
#endif

#ifdef FIRN_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace firn::base::tsan {

#ifdef FIRN_TSAN
inline void BeforeLock(void* mutex) { __tsan_mutex_pre_lock(mutex, __tsan_mutex_not_static); }
inline void AfterLock(void* mutex) { __tsan_mutex_post_lock(mutex, __tsan_mutex_not_static, 0); }
inline void BeforeTryLock(void* mutex) {
  __tsan_mutex_pre_lock(mutex, __tsan_mutex_not_static | __tsan_mutex_try_lock);
}
inline void AfterTryLock(void* mutex, bool locked) {
  const unsigned failed = locked ? 0U : __tsan_mutex_try_lock_failed;
  __tsan_mutex_post_lock(mutex, __tsan_mutex_not_static | __tsan_mutex_try_lock | failed, 0);
}
inline void BeforeUnlock(void* mutex) { __tsan_mutex_pre_unlock(mutex, 0); }
inline void AfterUnlock(void* mutex) { __tsan_mutex_post_unlock(mutex, 0); }
#else
inline void BeforeLock(void*) {}
inline void AfterLock(void*) {}
inline void BeforeTryLock(void*) {}
inline void AfterTryLock(void*, bool) {}
inline void BeforeUnlock(void*) {}
inline void AfterUnlock(void*) {}
#endif

// A condition variable lets go of its mutex while this exists. Declared before the wait, in its scope.
class ReleasedWhileWaiting {
 public:
  explicit ReleasedWhileWaiting(void* mutex) : mutex_(mutex) {
    BeforeUnlock(mutex_);
    AfterUnlock(mutex_);
  }
  ~ReleasedWhileWaiting() {
    BeforeLock(mutex_);
    AfterLock(mutex_);
  }
  ReleasedWhileWaiting(const ReleasedWhileWaiting&) = delete;

 private:
  void* mutex_;
};

}  // namespace firn::base::tsan
