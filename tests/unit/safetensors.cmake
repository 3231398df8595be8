dlx_unit_test(test_safetensors_write MODULES base LIBS dlx_format_archive)
dlx_unit_test(test_safetensors MODULES base format_json LIBS dlx_format_archive PkgConfig::JANSSON)

# The tool that writes random checkpoints: its tiny ones have the layout of the recorded ones.
if(TARGET make_checkpoint AND NOT CMAKE_CROSSCOMPILING) # the test starts the program by itself
  dlx_unit_test(test_make_checkpoint MODULES base format_json LIBS dlx_format_archive PkgConfig::JANSSON)
  if(TARGET test_make_checkpoint)
    target_compile_definitions(test_make_checkpoint PRIVATE DLX_MAKE_CHECKPOINT="$<TARGET_FILE:make_checkpoint>")
    add_dependencies(test_make_checkpoint make_checkpoint)
  endif()
endif()
