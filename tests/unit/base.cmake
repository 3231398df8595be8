dlx_unit_test(test_base MODULES base)
dlx_unit_test(test_base_memory MODULES base)
dlx_unit_test(test_files MODULES base)
dlx_unit_test(test_place MODULES base)
