# Archives, so that a test links only what it uses: format/facts.c needs rooms above this one.
add_library(dlx_format_archive STATIC $<TARGET_OBJECTS:dlx_format>)
target_link_libraries(dlx_format_archive PUBLIC m)
add_library(dlx_pte_sample STATIC ${PROJECT_SOURCE_DIR}/tests/unit/pte_sample.c)
target_link_libraries(dlx_pte_sample PUBLIC dlx_flags dlx_format_archive PkgConfig::CMOCKA)

dlx_unit_test(test_flatbuffer MODULES base LIBS dlx_format_archive)
dlx_unit_test(test_pte MODULES base LIBS dlx_pte_sample)
dlx_unit_test(test_pte_initial MODULES base LIBS dlx_pte_sample)
dlx_unit_test(test_pte_write MODULES base LIBS dlx_pte_sample)
dlx_unit_test(test_xnnpack MODULES base LIBS dlx_pte_sample)

# Writes the program that tests/py/test_format_official.py loads.
add_executable(make_sample_pte ${PROJECT_SOURCE_DIR}/tests/unit/make_sample_pte.c $<TARGET_OBJECTS:dlx_base>)
target_link_libraries(make_sample_pte PRIVATE dlx_flags dlx_format_archive Threads::Threads)
