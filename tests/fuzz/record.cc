// Records and the bodies of control records: whatever parses encodes to the very same bytes, and nothing else parses.
#include <string>

#include "format/record.h"
#include "fuzz/raw_format.h"

namespace firn::fuzz {
namespace {

const format::ChecksumSeed kSeed(kSecret, SaltOf(1));
constexpr uint64_t kPlace = 4160;

template <typename Decode, typename Encode>
void CheckBody(base::Bytes body, const Decode& decode, const Encode& encode) {
  if (const auto decoded = decode(body)) {
    Require(encode(*decoded) == base::AsText(body), "a body that decodes has one encoding");
  }
}

void CheckBodies(base::Bytes body) {
  CheckBody(body, format::DecodeLiveIds, format::EncodeLiveIds);
  CheckBody(body, format::DecodeRetireList, format::EncodeRetireList);
  CheckBody(body, format::DecodeCutList, format::EncodeCutList);
  CheckBody(body, format::DecodeAdoptList, format::EncodeAdoptList);
  CheckBody(body, format::DecodeValuePointer, format::EncodeValuePointer);
}

// Returns the record's size, 0 if there is none.
uint64_t CheckRecord(base::Bytes bytes) {
  const auto parsed = format::ParseRecord(bytes);
  if (!parsed) {
    Require(!format::DecodeRecord(bytes, kSeed, kPlace), "what does not parse does not decode");
    return 0;
  }
  Require(parsed->size_bytes <= bytes.size() && format::RecordSize(parsed->record) == parsed->size_bytes,
          "a record ends where its sizes say");
  std::string sealed(base::AsText(bytes));
  SealRecordAt(sealed, 0, sealed.size(), kSeed, kPlace);
  Require(format::DecodeRecord(Part(sealed, 0, sealed.size()), kSeed, kPlace).has_value(),
          "a record under its checksum decodes");
  Require(!format::DecodeRecord(Part(sealed, 0, sealed.size()), kSeed, kPlace + kBlock),
          "a record does not verify at another place");
  std::string again(parsed->size_bytes, '\0');
  format::EncodeRecord(parsed->record, kSeed, kPlace, At(again, 0));
  Require(sealed.compare(0, again.size(), again) == 0, "a record has one encoding");
  CheckBodies(parsed->record.value);
  return parsed->size_bytes;
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  firn::base::Bytes bytes = std::as_bytes(std::span(data, size));
  CheckBodies(bytes);
  // As many as follow each other, as in a unit's payload.
  while (const uint64_t record_bytes = CheckRecord(bytes)) bytes = bytes.subspan(record_bytes);
  return 0;
}
