// A log on a simulated machine, with its threads under a seed's scheduler, and nothing above it: the tests keep the
// index themselves.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "log/log.h"
#include "log/relocation.h"
#include "support/crash_points.h"
#include "support/scheduler.h"

namespace firn::log {

inline constexpr uint64_t kBenchSegmentBytes = 64 * 1024;

struct Bench {
  explicit Bench(uint64_t seed) : Bench(std::make_unique<test::SimWorld>(seed)) {}
  // A new process on a machine that there is.
  explicit Bench(test::SimWorld& world, uint64_t secret)
      : machine(world.machine), clock(world.clock), random(world.random) {
    superblock.secret = secret;
  }

  absl::StatusOr<std::unique_ptr<Log>> Open(bool fresh, bool salvage = false) {
    disk = machine.Attach();
    found.clear();
    entries.clear();
    FIRN_RETURN_IF_ERROR(disk->MakeFolder(kLogFolder));
    auto recovered = RecoverLog(*disk, superblock, fresh,
                                {.salvage = salvage, .on_event = OnEvent(), .believe_tail_unit = believe_tail_unit});
    if (!recovered.ok()) return recovered.status();
    SegmentId last = format::kNoSegment;
    for (const RecoveredSegment& each : recovered->segments) {
      REQUIRE(each.segment->id > last);
      last = each.segment->id;
      format::FooterReader directory = *each.directory;
      for (format::DirectoryEntry entry; directory.Next(entry);) {
        found[std::string(entry.key)] = entry.revision;
        entries.emplace(std::string(entry.key),
                        Log::Written{entry.revision, each.segment->id, entry.offset, entry.size});
      }
    }
    return Log::Start(*disk, superblock, epochs,
                      {.segment_bytes_min = kBenchSegmentBytes,
                       .flush_interval_ms = 1'000,
                       .clock = &forward,
                       .monotonic_clock = &clock,
                       .random = &random,
                       .on_event = OnEvent()},
                      *std::move(recovered));
  }
  std::function<void(EventKind, std::string)> OnEvent() {
    return [this](EventKind kind, std::string) { ++events[kind]; };
  }

  static absl::StatusOr<Log::Written> Write(Log& log, const std::string& key, const std::string& value) {
    return log.AppendControl(
        {.type = format::RecordType::kPut, .namespace_id = 1, .key = base::AsBytes(key), .value = base::AsBytes(value)},
        Log::Role::kLive);
  }
  static absl::StatusOr<uint64_t> Put(Log& log, const std::string& key, const std::string& value) {
    const auto written = Write(log, key, value);
    if (!written.ok()) return written.status();
    return written->revision;
  }
  static absl::StatusOr<Log::Written> Delete(Log& log, const std::string& key) {
    return log.AppendControl({.type = format::RecordType::kDelete, .namespace_id = 1, .key = base::AsBytes(key)},
                             Log::Role::kTombstone);
  }

  // A record wherever it is, verified; its bytes are in `memory`.
  static std::optional<format::Record> Load(Log& log, base::EpochDomain& epochs, const Log::Written& at,
                                            std::string& memory) {
    base::EpochGuard guard(epochs);
    const Segment* segment = log.segments().Find(at.segment);
    if (segment == nullptr) return std::nullopt;
    memory.resize(at.size);
    if (!log.Read(at.segment, at.offset, std::as_writable_bytes(std::span(memory))).ok()) return std::nullopt;
    const auto decoded = format::DecodeRecord(base::AsBytes(memory), segment->seed, at.offset);
    return decoded ? std::optional(decoded->record) : std::nullopt;
  }
  std::optional<std::string> Value(Log& log, const Log::Written& at) {
    std::string memory;
    const auto record = Load(log, epochs, at, memory);
    return record ? std::optional(std::string(base::AsText(record->value))) : std::nullopt;
  }
  // Copies the record and says where it will be.
  absl::StatusOr<Log::Written> Copy(Log& log, RelocationWriter& writer, const Log::Written& from) {
    std::string memory;
    const auto record = Load(log, epochs, from, memory);
    if (!record) return base::DataLoss("the original does not verify");
    FIRN_ASSIGN_OR_RETURN(const Position to, writer.Append(*record));
    return Log::Written{from.revision, to.segment, to.offset, from.size};
  }

  std::unique_ptr<test::SimWorld> own_world;
  test::SimMachine& machine;
  test::SimClock& clock;
  test::Rng& random;
  base::ForwardClock forward{clock};
  format::Superblock superblock;
  base::EpochDomain epochs;
  std::unique_ptr<io::Disk> disk;
  std::function<absl::StatusOr<bool>(base::Bytes payload)> believe_tail_unit;
  std::map<EventKind, int> events;
  std::map<std::string, uint64_t> found;             // by the last open: the revision of a key
  std::multimap<std::string, Log::Written> entries;  // and all places

 private:
  explicit Bench(std::unique_ptr<test::SimWorld> world) : Bench(*world, 8) { own_world = std::move(world); }
};

inline constexpr uint64_t kRelocationBytes = 256 * 1024;

inline std::string ValueOf(int i) { return std::to_string(i) + std::string(1'000, 'v'); }

// `count` keys, durable, in sealed segments: by key where each is.
inline std::map<std::string, Log::Written> WriteSealed(Log& log, int count) {
  std::map<std::string, Log::Written> index;
  for (int i = 0; i < count; ++i) {
    const std::string key = "key" + std::to_string(1'000 + i);
    const auto written = Bench::Write(log, key, ValueOf(i));
    REQUIRE(written.ok());
    index[key] = *written;
  }
  REQUIRE(log.SealActive().ok());
  return index;
}

inline std::vector<SegmentId> SealedIds(Log& log) {
  std::vector<SegmentId> ids;
  for (const auto& segment : log.segments().All()) {
    if (segment->sealed) ids.push_back(segment->id);
  }
  return ids;
}

// Copies all of `index` into one finished segment.
inline std::unique_ptr<RelocationWriter> CopyAll(Bench& bench, Log& log, std::map<std::string, Log::Written>& index,
                                                 uint64_t bytes_max = kRelocationBytes) {
  auto writer = log.BeginRelocation(bytes_max, 1);
  REQUIRE(writer.ok());
  for (auto& [key, at] : index) {
    const auto copied = bench.Copy(log, **writer, at);
    REQUIRE(copied.ok());
    at = *copied;
  }
  REQUIRE((*writer)->Finish().ok());
  return *std::move(writer);
}

inline void CountLive(Segment& segment, const std::map<std::string, Log::Written>& index) {
  for (const auto& [key, at] : index) {
    segment.live_records += 1;
    segment.live_bytes += at.size;
  }
}

inline void Scheduled(uint64_t seed, const std::function<void()>& body) {
  INFO("seed " << seed);
  test::SimScheduler scheduler({.seed = seed});
  REQUIRE(scheduler.Run(body));
}

}  // namespace firn::log
