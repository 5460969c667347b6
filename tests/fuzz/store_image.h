// Whole stores to be mutated: the files of one small store at several moments of its life, made once, and the edits
// that an input asks for. Values tell which key they were written under and carry a checksum of their own, so that
// whatever a damaged store shows can be judged by itself.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/raw_format.h"
#include "support/crash_points.h"

namespace firn::fuzz {

using Files = std::map<std::string, std::string>;

inline constexpr uint64_t kSegmentBytesMin = 64 << 10;
inline constexpr std::string_view kNamespaceName = "space";
inline constexpr int kKeys = 16;

std::string KeyOf(int i);
// The value that was the `n`th to be written under the key. Long ones are separated.
std::string ValueOf(std::string_view key, int n, size_t size_bytes);
// Whether some call of ValueOf with this key gives it.
bool IsValueOf(std::string_view key, std::string_view value);

// The store in order of time: killed early, killed late with writes in the tail buffers only, after a power cut,
// closed.
const std::vector<Files>& StoreImages();

// Puts the files on the machine's empty disk, durable.
void PutOn(const Files& files, test::SimMachine& machine);

// Does what the input asks for, at most `edits_max` times. True if checksums were made to fit what was changed: then
// what the store shows may be made up.
bool Mutate(Input& input, int edits_max, Files& files);

}  // namespace firn::fuzz
