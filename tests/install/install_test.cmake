# Installs the engine to a folder of its own, moves it, and builds a foreign project against it, once through
# find_package and once through pkg-config. Wants: build_dir work_dir consumer_dir compiler generator sanitize.
file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "ended with ${result}: ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${build_dir} --component engine --prefix ${work_dir}/first)
file(RENAME ${work_dir}/first ${work_dir}/prefix)

# Nothing of the network's, and no path of the build, may have come along.
file(GLOB_RECURSE texts ${work_dir}/prefix/*.cmake ${work_dir}/prefix/*.pc ${work_dir}/prefix/*.h)
foreach(text IN LISTS texts)
  file(READ ${text} content)
  string(FIND "${content}" "${build_dir}" build_path)
  string(REGEX MATCH "[Ll]ibfabric" fabric "${content}")
  if(fabric OR NOT build_path EQUAL -1)
    message(FATAL_ERROR "${text} names libfabric or the build folder")
  endif()
endforeach()

file(GLOB_RECURSE pc_file ${work_dir}/prefix/firn-engine.pc)
cmake_path(GET pc_file PARENT_PATH pc_dir)
string(REPLACE ";" "," sanitizers "${sanitize}")
if(sanitizers)
  set(sanitizers -fsanitize=${sanitizers})
endif()
set(configure ${CMAKE_COMMAND} -S ${consumer_dir} -G ${generator}
  -D CMAKE_CXX_COMPILER=${compiler} "-DCMAKE_CXX_FLAGS=${sanitizers}" -D CMAKE_BUILD_TYPE=Debug)
set(configure_package ${configure} -D CMAKE_PREFIX_PATH=${work_dir}/prefix)

foreach(way IN ITEMS package pkg-config)
  if(way STREQUAL "package")
    run(${configure_package} -B ${work_dir}/${way})
  else()
    run(${CMAKE_COMMAND} -E env "PKG_CONFIG_PATH=${pc_dir}" ${configure} -D USE_PKG_CONFIG=ON -B ${work_dir}/${way})
  endif()
  run(${CMAKE_COMMAND} --build ${work_dir}/${way})
  run(${work_dir}/${way}/consumer ${work_dir}/${way}/store)
  message(STATUS "${way}: ${output}")
endforeach()

find_program(ldd ldd)
if(ldd)
  run(${ldd} ${work_dir}/package/consumer)
  if(output MATCHES "libfabric")
    message(FATAL_ERROR "the consumer needs libfabric:\n${output}")
  endif()
endif()

# A component that does not exist is refused, and the message says which there are.
execute_process(COMMAND ${configure_package} -D COMPONENT=snow -B ${work_dir}/unknown
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0 OR NOT output MATCHES "no component 'snow'")
  message(FATAL_ERROR "an unknown component gave ${result}:\n${output}")
endif()
