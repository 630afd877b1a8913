# Passed as CMAKE_PROJECT_INCLUDE where ROS comes from wheels: their exported targets name the include folder of the
# machine that built them (/opt/python/...), and CMake refuses folders that do not exist. Strip those entries.
function(strip_wheel_builder_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(includes)
      list(FILTER includes EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${includes}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL strip_wheel_builder_includes)
