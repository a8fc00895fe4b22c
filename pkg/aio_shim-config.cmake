# find_package(aio_shim) gives the target aio_shim::aio_shim (the shared
# library) and, where it is installed, aio_shim::static. Found from here, so
# that the whole prefix can be moved.
get_filename_component(_aio_shim_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
find_path(_aio_shim_include aio_shim.h NO_CACHE NO_DEFAULT_PATH
  HINTS "${_aio_shim_libdir}/../include" "${_aio_shim_libdir}/../../include")
if(NOT _aio_shim_include OR NOT EXISTS "${_aio_shim_libdir}/libaio_shim.so")
  set(aio_shim_FOUND FALSE)
  set(aio_shim_NOT_FOUND_MESSAGE "aio_shim.h or libaio_shim.so is missing beside ${CMAKE_CURRENT_LIST_DIR}")
  return()
endif()

if(NOT TARGET aio_shim::aio_shim)
  add_library(aio_shim::aio_shim SHARED IMPORTED)
  set_target_properties(aio_shim::aio_shim PROPERTIES
    IMPORTED_LOCATION "${_aio_shim_libdir}/libaio_shim.so"
    IMPORTED_SONAME libaio_shim.so.0
    INTERFACE_INCLUDE_DIRECTORIES "${_aio_shim_include}")
endif()
if(NOT TARGET aio_shim::static AND EXISTS "${_aio_shim_libdir}/libaio_shim.a")
  add_library(aio_shim::static STATIC IMPORTED)
  set_target_properties(aio_shim::static PROPERTIES
    IMPORTED_LOCATION "${_aio_shim_libdir}/libaio_shim.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_aio_shim_include}"
    INTERFACE_LINK_LIBRARIES "gcc_s;pthread;m;dl")
endif()
unset(_aio_shim_libdir)
