dlx_unit_test(test_quant MODULES base graph quant format_json LIBS dlx_format_archive PkgConfig::JANSSON)
