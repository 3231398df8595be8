if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_qnn LIBS dlx_core)
  dlx_unit_test(test_qnn_bytes LIBS dlx_core LABELS portable)
  dlx_unit_test(test_value_ranges LIBS dlx_core LABELS portable)
  # For tests in the official runtime (tests/py/test_qnn_official.py).
  add_executable(make_qnn_pte ${PROJECT_SOURCE_DIR}/tests/unit/make_qnn_pte.c)
  target_link_libraries(make_qnn_pte PRIVATE dlx_core)
  add_dependencies(dlx_tests make_qnn_pte)
endif()
