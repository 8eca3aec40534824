document.getElementById("sign-in-link").requestSubmit();
