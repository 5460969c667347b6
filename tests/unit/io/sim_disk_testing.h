// Files of the simulated disk whose blocks are full of one letter each.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/aligned_buffer.h"
#include "support/sim_disk.h"

namespace firn::test {

inline constexpr uint64_t kBlock = 4096;

inline base::AlignedBuffer Filled(char letter, size_t blocks = 1) {
  base::AlignedBuffer buffer(blocks * kBlock);
  std::memset(buffer.data(), letter, buffer.size());
  return buffer;
}

inline absl::Status Write(io::File& file, uint64_t block, char letter, io::Flush flush = io::Flush::kNone,
                          size_t blocks = 1) {
  return file.Write(block * kBlock, Filled(letter, blocks).bytes(), flush);
}

// A file "f" of `blocks` durable blocks full of 'o'.
inline std::unique_ptr<io::File> MakeFile(io::Disk& disk, uint64_t blocks) {
  std::unique_ptr<io::File> file = *disk.Open("f", io::OpenMode::kCreate);
  REQUIRE(file->Allocate(blocks * kBlock).ok());
  for (uint64_t block = 0; block < blocks; ++block) REQUIRE(Write(*file, block, 'o').ok());
  REQUIRE(file->Sync().ok());
  REQUIRE(disk.SyncFolder("").ok());
  return file;
}

inline std::set<char> LettersOfBlock(const SimMachine& machine, uint64_t block, std::string_view name = "f") {
  const std::string bytes = machine.ReadFile(name).substr(block * kBlock, kBlock);
  return {bytes.begin(), bytes.end()};
}

}  // namespace firn::test
