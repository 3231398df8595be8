dlx_unit_test(test_base MODULES base)
