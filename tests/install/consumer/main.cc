// Opens the store named on the command line, writes, reads back, closes.
#include <iostream>

#include <firn/db.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  absl::StatusOr<std::unique_ptr<firn::DB>> db = firn::DB::Open({}, argv[1]);
  if (!db.ok()) {
    std::cerr << db.status() << "\n";
    return 1;
  }
  absl::StatusOr<firn::Revision> revision = (*db)->Put("answer", "42");
  absl::StatusOr<std::string> value = (*db)->Get("answer");
  if (!revision.ok() || !value.ok() || *value != "42") {
    std::cerr << revision.status() << " " << value.status() << "\n";
    return 1;
  }
  std::cout << "stored and read at revision " << *revision << "\n";
  return (*db)->Close().ok() ? 0 : 1;
}
