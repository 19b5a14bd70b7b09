# Everything that `make install` puts below the prefix: the program, its manual, and how systemd,
# udev and shells know it.
function(ringloop_install)
    install(TARGETS ringloop RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
    install(FILES docs/ringloop.1 docs/ringloop-attach.1
        DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES docs/ringloop-losetup.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
    install(FILES docs/ringloop.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)

    # All of these are looked for in /usr/local/lib as well as in /usr/lib.
    install(FILES packaging/systemd/ringloop@.service packaging/systemd/ringloop@.socket
        packaging/systemd/ringloop-recover@.service packaging/systemd/ringloop.target
        DESTINATION lib/systemd/system)
    install(PROGRAMS packaging/systemd/ringloop-generator
        DESTINATION lib/systemd/system-generators)
    install(FILES packaging/udev/60-ringloop.rules DESTINATION lib/udev/rules.d)
    # udev looks for no program: the rules have its path, which is known when it is installed.
    install(CODE [[
        set(rules "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/udev/rules.d/60-ringloop.rules")
        file(READ "${rules}" text)
        string(REPLACE "/usr/bin/" "${CMAKE_INSTALL_PREFIX}/bin/" text "${text}")
        file(WRITE "${rules}" "${text}")
    ]])
    install(FILES packaging/completions/ringloop.bash
        DESTINATION share/bash-completion/completions RENAME ringloop)
    install(FILES packaging/completions/_ringloop DESTINATION share/zsh/site-functions)
endfunction()
