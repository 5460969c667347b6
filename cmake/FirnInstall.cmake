# What `cmake --install` lays down: one CMake package with a component per library, and pkg-config files.
include(CMakePackageConfigHelpers)

set(firn_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/firn)

install(TARGETS firn_engine EXPORT firn-engine
  ARCHIVE COMPONENT engine
  FILE_SET HEADERS COMPONENT engine)
install(EXPORT firn-engine NAMESPACE firn:: FILE firn-engine-targets.cmake
  DESTINATION ${firn_package_dir} COMPONENT engine)

configure_package_config_file(cmake/firn-config.cmake.in ${PROJECT_BINARY_DIR}/firn-config.cmake
  INSTALL_DESTINATION ${firn_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/firn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/firn-config.cmake ${PROJECT_BINARY_DIR}/firn-config-version.cmake
  DESTINATION ${firn_package_dir} COMPONENT engine)

# Relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH firn_prefix_from_pkgconfig /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" firn_prefix_from_pkgconfig ${firn_prefix_from_pkgconfig})
configure_file(cmake/firn-engine.pc.in ${PROJECT_BINARY_DIR}/firn-engine.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/firn-engine.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT engine)
