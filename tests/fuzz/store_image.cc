#include "fuzz/store_image.h"

#include <firn/batch.h>
#include <firn/db.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>

#include "base/aligned_buffer.h"
#include "db/open.h"
#include "format/block.h"
#include "log/segment.h"
#include "log/tail.h"
#include "support/scheduler.h"
#include "support/sim_environment.h"

namespace firn::fuzz {
namespace {

constexpr size_t kHashDigits = 16;
constexpr size_t kSmallBytes = 60, kLargeBytes = 3'000, kSeparatedBytes = 8'000;
constexpr uint64_t kSeed = 5;
constexpr uint64_t kFileBytesMax = uint64_t{4} << 20;

std::string HashText(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  uint64_t hash = base::Hash64(base::AsBytes(text));
  std::string digits;
  for (size_t i = 0; i < kHashDigits; ++i, hash >>= 4) digits += kDigits[hash & 15];
  return digits;
}

Files FilesOf(const test::SimMachine& machine) {
  Files files;
  for (const std::string& name : machine.FileNames()) {
    if (name != "LOCK") files[name] = machine.ReadFile(name);
  }
  return files;
}

std::unique_ptr<DB> Open(test::SimWorld& world) {
  Options options;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = kFlushIntervalMsMax;  // nothing becomes durable by itself
  options.value_separation_threshold_bytes = kValueSeparationThresholdBytesMin;
  auto db = OpenOn(options, test::SimEnvironment(world.machine, world.clock, world.random, kSegmentBytesMin));
  Require(db.ok(), "an undamaged store opens");
  return *std::move(db);
}

template <typename T>
void Must(const absl::StatusOr<T>& result) {
  Require(result.ok(), "an undamaged store takes writes");
}
void Must(const absl::Status& status) { Require(status.ok(), "an undamaged store works"); }

// Every kind of record and file: values in records and apart, equal ones, batches, expiries, deletes, a namespace that
// lives and one that was dropped, sealed, relocated and retired segments.
void LiveEarly(DB& db) {
  const PutOptions buffered{{.durability = Durability::kBuffered}};
  Must(db.CreateNamespace("dropped"));
  const auto space = db.CreateNamespace(kNamespaceName);
  Must(space);
  for (int i = 0; i < kKeys; ++i) {
    Must(db.Put(KeyOf(i), ValueOf(KeyOf(i), 1, i % 4 == 0 ? kSeparatedBytes : kLargeBytes), buffered));
    Must(Namespace(*space).Put(KeyOf(i), ValueOf(KeyOf(i), 1, kSmallBytes), buffered));
  }
  Must(db.Flush());
  for (int i = 0; i < kKeys; i += 2) Must(db.Put(KeyOf(i), ValueOf(KeyOf(i), 2, kLargeBytes), buffered));
  Must(db.SetExpiry(KeyOf(1), kExpiryMsMax));
  Must(db.Delete(KeyOf(2)));
  Must(db.DropNamespace("dropped"));
}

void LiveLate(DB& db) {
  const PutOptions buffered{{.durability = Durability::kBuffered}};
  Must(db.Compact());
  Batch batch;
  for (int i = 0; i < kKeys; i += 5) batch.Put(KeyOf(i), ValueOf(KeyOf(i), 3, kSmallBytes));
  batch.Delete(KeyOf(3));
  Must(db.Apply(batch));
  Must(db.Put(KeyOf(7), ValueOf(KeyOf(7), 4, kSeparatedBytes)));
  Must(db.Flush());
  Must(db.Put(KeyOf(8), ValueOf(KeyOf(8), 5, kSmallBytes)));
  Must(db.Apply(batch));
  Must(db.Put(KeyOf(9), ValueOf(KeyOf(9), 6, kSeparatedBytes), buffered));
  Must(db.Put(KeyOf(10), ValueOf(KeyOf(10), 7, kSmallBytes), buffered));
}

std::vector<Files> MakeImages() {
  std::vector<Files> images;
  test::SimWorld world(kSeed);
  test::SimScheduler scheduler({.seed = kSeed});
  scheduler.Run([&] {
    std::unique_ptr<DB> db = Open(world);
    LiveEarly(*db);
    images.push_back(FilesOf(world.machine));
    LiveLate(*db);
    images.push_back(FilesOf(world.machine));
    world.machine.Crash({test::CrashKind::kPowerCut, test::Survival::kNothing});
    images.push_back(FilesOf(world.machine));
    db.reset();
    db = Open(world);
    Must(db->Put(KeyOf(11), ValueOf(KeyOf(11), 8, kSeparatedBytes)));
    Must(db->Close());
    db.reset();
    images.push_back(FilesOf(world.machine));
  });
  return images;
}

bool IsSegment(std::string_view name) { return name.starts_with("log/"); }
bool IsTail(std::string_view name) { return name == log::kTailFile; }

// Where something begins: headers, units, their records, footer and trailer.
std::vector<uint64_t> PlacesIn(const std::string& bytes) {
  std::vector<uint64_t> places{0, 16, 2048};
  for (uint64_t at = kBlock; at + kBlock <= bytes.size(); at += kBlock) {
    if (bytes.compare(at, 4, "firn") != 0) continue;
    places.push_back(at);
    if (bytes.compare(at, 8, "firnUNI1") != 0) continue;
    const auto payload_bytes = base::LoadLe<uint32_t>(At(bytes, at + 52));
    uint64_t record_at = at + format::kUnitHeaderBytes;
    for (uint64_t end = std::min<uint64_t>(record_at + payload_bytes, bytes.size()); record_at < end;) {
      places.push_back(record_at);
      const auto record = format::ParseRecord(Part(bytes, record_at, end - record_at));
      if (!record) break;
      record_at += record->size_bytes;
    }
  }
  if (bytes.size() >= format::kTrailerBytes) places.push_back(bytes.size() - format::kTrailerBytes);
  return places;
}

void SealUnits(std::string& file, uint64_t from, uint64_t to, uint64_t place, const format::ChecksumSeed& seed) {
  for (uint64_t at = from; at + kBlock <= to;) {
    uint64_t size = kBlock;
    if (file.compare(at, 8, "firnUNI1") == 0) {
      const uint64_t blocks = base::LoadLe<uint32_t>(At(file, at + 48));
      if (blocks > 0 && blocks * kBlock <= to - at) size = blocks * kBlock;
      const uint64_t payload_at = at + format::kUnitHeaderBytes;
      for (uint64_t record_at = payload_at; record_at < at + size;) {
        const uint64_t record_bytes =
            SealRecordAt(file, record_at, at + size - record_at, seed, place + (record_at - from));
        if (record_bytes == 0) break;
        record_at += record_bytes;
      }
      SealUnitAt(file, at, size, seed, place + (at - from));
    }
    at += size;
  }
}

format::Salt SaltAt(const std::string& file, uint64_t at) {
  format::Salt salt;
  std::memcpy(salt.data(), At(file, at), salt.size());
  return salt;
}

void SealTail(std::string& tail, uint64_t secret) {
  constexpr uint64_t kDescriptorBytes = 32, kMarkAt = 2048;
  for (uint64_t i = 0; i < log::kTailBuffers; ++i) {
    const uint64_t at = i * kDescriptorBytes;
    if (format::IsZero(Part(tail, at, kDescriptorBytes))) continue;
    base::StoreLe(At(tail, at + 24), base::Hash64(Part(tail, at, 24), secret ^ 0x7461696c));
    const uint64_t buffer_at = kBlock + i * log::kTailBufferBytes;
    SealUnits(tail, buffer_at, buffer_at + log::kTailBufferBytes, base::LoadLe<uint32_t>(At(tail, at + 4)),
              format::ChecksumSeed(secret, SaltAt(tail, at + 8)));
  }
  base::StoreLe(At(tail, kMarkAt + 8), base::Hash64(Part(tail, kMarkAt + 16, 16), secret ^ 0x636c6f7365));
}

// Makes all checksums of a file fit what it says.
void Seal(const std::string& name, std::string& file, uint64_t secret) {
  if (IsTail(name)) {
    if (file.size() == log::kTailFileBytes) SealTail(file, secret);
    return;
  }
  if (file.size() < kBlock) return;
  SealBlockAt(file, 0, name == "SUPERBLOCK" ? 0 : secret);
  if (name == "SUPERBLOCK" && file.size() >= 2 * kBlock) SealBlockAt(file, kBlock, 0);
  if (!IsSegment(name)) return;
  const format::ChecksumSeed seed(secret, SaltAt(file, 48));
  SealUnits(file, kBlock, file.size(), kBlock, seed);
  const uint64_t footer_at = base::LoadLe<uint32_t>(At(file, file.size() - format::kTrailerBytes + 40));
  if (footer_at + format::kTrailerBytes <= file.size()) SealFooterAt(file, footer_at, seed);
}

class Mutation {
 public:
  Mutation(Input& input, Files& files) : input_(input), files_(files) {}

  bool forged() const { return forged_; }

  void EditOnce(uint8_t operation) {
    if (files_.empty()) return;
    const auto& [name, bytes] = PickFile();
    if (operation < 8) {
      EditBytes(operation, *bytes);
    } else {
      EditFiles(operation, name, *bytes);
    }
  }

 private:
  std::pair<std::string, std::string*> PickFile() {
    auto at = files_.begin();
    std::advance(at, input_.Byte() % files_.size());
    return {at->first, &at->second};
  }

  // Counted from where something begins, or from the end.
  uint64_t PickPlace(const std::string& bytes) {
    const std::vector<uint64_t> places = PlacesIn(bytes);
    const uint8_t which = input_.Byte();
    const uint64_t away = input_.Skewed();
    const uint64_t place =
        which == 0xFF ? bytes.size() - std::min<uint64_t>(away, bytes.size()) : places[which % places.size()] + away;
    return std::min<uint64_t>(place, bytes.size());
  }

  static void Overwrite(std::string& bytes, uint64_t at, std::string_view with) {
    const size_t size = std::min<size_t>(with.size(), bytes.size() - at);
    bytes.replace(at, size, with.substr(0, size));
  }
  static void OverwriteNumber(std::string& bytes, uint64_t at, uint64_t number, size_t size) {
    char encoded[sizeof(number)];
    std::memcpy(encoded, &number, sizeof(number));
    Overwrite(bytes, at, {encoded, size});
  }

  void EditBytes(uint8_t operation, std::string& bytes) {
    const uint64_t at = PickPlace(bytes);
    switch (operation) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ input_.Byte());
        return;
      case 1:
        return OverwriteNumber(bytes, at, input_.Skewed(), 4);
      case 2:
        return OverwriteNumber(bytes, at, input_.Skewed(), 8);
      case 3:
        return Overwrite(bytes, at, input_.Text(input_.Byte() & 0x3F));
      case 4:
        return bytes.resize(at);
      case 5:
        return bytes.resize(std::min(bytes.size() + input_.Skewed() * 64, kFileBytesMax));
      case 6:
        return Overwrite(bytes, at, std::string(std::min(input_.Skewed() * 64, kFileBytesMax), '\0'));
      default: {
        const std::string& from = *PickFile().second;
        const uint64_t from_at = PickPlace(from);
        const std::string part = from.substr(from_at, std::min(input_.Skewed() * 64, kFileBytesMax));
        return Overwrite(bytes, at, part);
      }
    }
  }

  void EditFiles(uint8_t operation, const std::string& name, std::string& bytes) {
    switch (operation) {
      case 8:
        files_.erase(name);
        return;
      case 9:
        return std::swap(bytes, *PickFile().second);
      case 10: {  // as it was at another time
        const Files& other = StoreImages()[input_.Byte() % StoreImages().size()];
        const auto at = other.find(name);
        if (at != other.end()) bytes = at->second;
        return;
      }
      case 11:  // a copy under another name
        files_[name.substr(0, name.find('/') + 1) + "00000000" + std::to_string(10 + input_.Byte() % 20) +
               (name.starts_with("values") ? ".val" : ".seg")] = std::string(bytes);
        return;
      default: {
        const auto superblock = files_.find("SUPERBLOCK");
        if (superblock == files_.end() || superblock->second.size() < kBlock) return;
        std::string sealed = bytes;
        Seal(name, sealed, base::LoadLe<uint64_t>(At(superblock->second, 40)));
        forged_ = forged_ || sealed != bytes;
        bytes = std::move(sealed);
      }
    }
  }

  Input& input_;
  Files& files_;
  bool forged_ = false;
};

}  // namespace

std::string KeyOf(int i) { return "key" + std::to_string(10 + i); }

std::string ValueOf(std::string_view key, int n, size_t size_bytes) {
  std::string value = std::string(key) + "#" + std::to_string(n) + "#";
  while (value.size() + kHashDigits < size_bytes) value += static_cast<char>('a' + (value.size() * 7 + n) % 26);
  return value + HashText(value);
}

bool IsValueOf(std::string_view key, std::string_view value) {
  if (value.size() < key.size() + kHashDigits || !value.starts_with(key)) return false;
  const std::string_view text = value.substr(0, value.size() - kHashDigits);
  return text[key.size()] == '#' && value.substr(text.size()) == HashText(text);
}

const std::vector<Files>& StoreImages() {
  static const std::vector<Files>& images = *new std::vector<Files>(MakeImages());
  return images;
}

void PutOn(const Files& files, test::SimMachine& machine) {
  const std::unique_ptr<io::Disk> disk = machine.Attach();
  constexpr std::string_view kFolders[] = {"log", "values"};
  for (const std::string_view folder : kFolders) Must(disk->MakeFolder(folder));
  base::AlignedBuffer block(kBlock);
  for (const auto& [name, bytes] : files) {
    const auto file = disk->Open(name, io::OpenMode::kCreate);
    Must(file);
    Must((*file)->Allocate(base::RoundUp(bytes.size(), kBlock)));
    for (uint64_t at = 0; at < bytes.size(); at += kBlock) {
      const base::Bytes part = Part(bytes, at, std::min(kBlock, bytes.size() - at));
      if (format::IsZero(part)) continue;
      std::memset(block.data(), 0, kBlock);
      std::memcpy(block.data(), part.data(), part.size());
      Must((*file)->Write(at, block.bytes(), io::Flush::kNone));
    }
    Must((*file)->Truncate(bytes.size()));
    Must((*file)->Sync());
  }
  for (const std::string_view folder : kFolders) Must(disk->SyncFolder(folder));
  Must(disk->SyncFolder(""));
  Must(disk->Lock("LOCK", true));  // read-only opens expect the file
}

bool Mutate(Input& input, int edits_max, Files& files) {
  constexpr uint8_t kOperations = 13;
  Mutation mutation(input, files);
  for (int i = 0; i < edits_max && !input.empty(); ++i) mutation.EditOnce(input.Byte() % kOperations);
  return mutation.forged();
}

}  // namespace firn::fuzz
