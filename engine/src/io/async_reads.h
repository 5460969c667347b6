// Reads in flight of one thread that waits for none of them in particular.
//
//   reads->Queue(request);                              // it stays where it is until it is taken
//   reads->Wait(timeout_nanos);                         // hands over what is queued, and looks at what has ended
//   while (ReadRequest* ended = reads->Take()) ...
//
// Used by the thread that made it; Wake() by any. It is destroyed when nothing is in flight, before its disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/disk.h"
#include "io/file_descriptor.h"

namespace firn::io {

class AsyncReads {
 public:
  static constexpr uint64_t kForever = UINT64_MAX;

  // `depth`: requests between Queue() and Take(), at most.
  AsyncReads(Counters& counters, size_t depth);
  virtual ~AsyncReads();
  AsyncReads(const AsyncReads&) = delete;

  // Begins with the next Wait() at the latest: once some are queued they are handed over, so that the disk has them
  // while their thread works on others. Same rules as File::Read; a request that breaks them has ended. From here on
  // nothing needs memory but the texts of errors.
  void Queue(ReadRequest& request) noexcept;
  // Returns when a request has ended, when woken, or when so much time has passed; it may return earlier, and with 0
  // does not wait.
  void Wait(uint64_t timeout_nanos);
  // One that has ended, with its status; null: there is none now.
  ReadRequest* Take();
  // Between Queue() and Take(); and of them, queued and not handed over.
  size_t in_flight() const { return in_flight_; }
  size_t queued() const { return queued_; }

  // The Wait() under way, or else the next one, does not wait. Any thread; allocates nothing.
  virtual void Wake() noexcept = 0;
  // Readable when a request that was handed over has ended, or Wake() was called. -1: there is none.
  virtual int descriptor() = 0;

 protected:
  // The request is valid. Ended() is called for it once, in DoWait().
  virtual void DoQueue(ReadRequest& request) = 0;
  virtual void DoWait(uint64_t timeout_nanos) = 0;
  // Hands over what is queued, if that is enough and takes no waiting. False: it is queued still.
  virtual bool DoHandOver() noexcept { return false; }

  void Ended(ReadRequest& request) { ended_.push_back(&request); }
  // By system call, or whatever the file does.
  static void ReadNow(ReadRequest& request) noexcept;

 private:
  Counters& counters_;
  std::vector<ReadRequest*> ended_;  // has room for all
  size_t in_flight_ = 0, queued_ = 0;
};

// A counter of wake-ups that a thread can wait on.
class WakeDescriptor {
 public:
  static absl::StatusOr<WakeDescriptor> Create();
  void Signal() const noexcept;
  void Clear() const noexcept;
  // True if there was a signal in time.
  bool Wait(uint64_t timeout_nanos) const noexcept;
  int get() const { return fd_.get(); }

 private:
  FileDescriptor fd_;
};

// One read after the other, in Wait(): for disks without a ring.
class ReadsInTurn : public AsyncReads {
 public:
  ReadsInTurn(Counters& counters, size_t depth, WakeDescriptor wake);
  void Wake() noexcept override { wake_.Signal(); }
  int descriptor() override { return wake_.get(); }

 protected:
  void DoQueue(ReadRequest& request) override { waiting_.push_back(&request); }
  void DoWait(uint64_t timeout_nanos) override;

 private:
  const WakeDescriptor wake_;
  std::vector<ReadRequest*> waiting_;  // has room for all
};

}  // namespace firn::io
