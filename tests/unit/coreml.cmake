if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_coreml LIBS dlx_core)
  # Writes the parts that tests/py/test_coreml.py checks.
  add_executable(make_coreml_part ${PROJECT_SOURCE_DIR}/tests/unit/make_coreml_part.c)
  target_link_libraries(make_coreml_part PRIVATE dlx_core)
endif()
