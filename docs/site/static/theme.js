// Before the page is drawn: light, dark or what the system has, as chosen by the button of the theme.
document.body.dataset.theme = localStorage.getItem("theme") || "auto";
