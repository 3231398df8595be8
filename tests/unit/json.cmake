dlx_unit_test(test_json MODULES base format_json LIBS dlx_format_archive PkgConfig::JANSSON)
