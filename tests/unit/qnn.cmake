if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_qnn LIBS dlx_core)
  dlx_unit_test(test_qnn_bytes LIBS dlx_core LABELS portable)
  dlx_unit_test(test_value_ranges LIBS dlx_core LABELS portable)
  # For tests in the official runtime (tests/py/test_qnn_official.py).
  add_executable(make_qnn_pte ${PROJECT_SOURCE_DIR}/tests/unit/make_qnn_pte.c)
  target_link_libraries(make_qnn_pte PRIVATE dlx_core)
  add_library(qnn_interposer MODULE ${PROJECT_SOURCE_DIR}/tests/unit/qnn_interposer.c)
  target_link_libraries(qnn_interposer PRIVATE dlx_flags ${CMAKE_DL_LIBS})
  set_target_properties(qnn_interposer PROPERTIES PREFIX "" OUTPUT_NAME libQnnHtp LIBRARY_OUTPUT_DIRECTORY
                        ${CMAKE_CURRENT_BINARY_DIR}/qnn_interposer)
  target_link_options(qnn_interposer PRIVATE LINKER:-soname,libQnnHtp.so LINKER:-z,nodelete)
  add_dependencies(dlx_tests make_qnn_pte qnn_interposer)
endif()
