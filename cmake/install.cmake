# Installing: libraries, headers, the program, a CMake package and a pkg-config file. Both package files are relocatable.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/DiffulexEdge)

install(TARGETS ${DLX_LIBRARIES} EXPORT DiffulexEdgeTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/diffulex_edge DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(TARGET diffulex-edge)
  install(TARGETS diffulex-edge RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(DLX_GENERATED)
    install(FILES ${DLX_GENERATED}/diffulex-edge.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES ${DLX_GENERATED}/diffulex-edge.bash RENAME diffulex-edge
            DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${DLX_GENERATED}/_diffulex-edge DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES ${DLX_GENERATED}/diffulex-edge.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  endif()
endif()

install(EXPORT DiffulexEdgeTargets NAMESPACE DiffulexEdge:: DESTINATION ${package_dir})
set(DLX_ANY_STATIC ${DLX_STATIC})
if(NOT DLX_SHARED)
  set(DLX_ANY_STATIC ON)
endif()
configure_package_config_file(cmake/DiffulexEdgeConfig.cmake.in ${PROJECT_BINARY_DIR}/DiffulexEdgeConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/DiffulexEdgeConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/DiffulexEdgeConfig.cmake ${PROJECT_BINARY_DIR}/DiffulexEdgeConfigVersion.cmake
        DESTINATION ${package_dir})

file(RELATIVE_PATH DLX_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
list(JOIN DLX_PKG_CONFIG_LIBRARIES " " DLX_PC_REQUIRES)
configure_file(cmake/diffulex_edge.pc.in ${PROJECT_BINARY_DIR}/diffulex_edge.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/diffulex_edge.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The Python wheel (pyproject.toml): the library inside the package, under one name because wheels hold no links, and the
# program on the path.
if(SKBUILD)
  install(FILES $<TARGET_FILE:diffulex_edge> DESTINATION diffulex_edge COMPONENT python
          RENAME libdiffulex_edge${CMAKE_SHARED_LIBRARY_SUFFIX})
  install(PROGRAMS $<TARGET_FILE:diffulex-edge> DESTINATION ${SKBUILD_SCRIPTS_DIR} COMPONENT python)
endif()
